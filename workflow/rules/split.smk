"""Splits of datasets that have no split file: written once, kept ever after."""


rule made_split:
    input:
        record="<results>/{dataset}/raw.json",
        settings="<results>/{dataset}/dataset.yaml",
    output:
        # The verb sees the file of an earlier run and never writes another one over it.
        split=update("<results>/{dataset}/split.csv"),
    log:
        "<logs>/{dataset}/split.log",
    conda:
        plan.environment
    resources:
        mem="2GB",
        runtime="1h",
    params:
        code=code_of("made_split"),
        raw=no_reason(arguments.raw_folder),
    message:
        "{wildcards.dataset}: split"
    shell:
        "begin {log:q}; python -m sdseg split --settings {input.settings:q} --raw {params.raw:q} --output {output.split:q}"
        " >> {log:q} 2>&1 && touch {output.split:q}"


rule made_folds:
    input:
        manifest=PREPARED,
    output:
        folds=update("<results>/{dataset}/folds-{folds}.csv"),
    log:
        "<logs>/{dataset}/folds-{folds}.log",
    wildcard_constraints:
        folds=r"\d+",
    conda:
        plan.environment
    resources:
        mem="2GB",
        runtime="1h",
    params:
        code=code_of("made_folds"),
        prepared=subpath(input.manifest, parent=True),
    message:
        "{wildcards.dataset}: {wildcards.folds} folds of the training split"
    shell:
        "begin {log:q}; python -m sdseg folds --prepared {params.prepared:q} --folds {wildcards.folds} --output {output.folds:q}"
        " >> {log:q} 2>&1 && touch {output.folds:q}"
