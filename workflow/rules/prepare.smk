"""Raw files to a memory-mapped slice store; its manifest stands for all of it."""


rule slice_store:
    input:
        record="<results>/{dataset}/raw.json",
        settings="<results>/{dataset}/dataset.yaml",
        split=plan.split_file,
    output:
        manifest="<results>/{dataset}/prepared/manifest.json",
        images="<results>/{dataset}/prepared/images.npy",
        masks="<results>/{dataset}/prepared/masks.npy",
        mask_ends="<results>/{dataset}/prepared/mask_ends.npy",
        cases="<results>/{dataset}/prepared/cases.csv",
        slices="<results>/{dataset}/prepared/slices.csv",
        check="<results>/{dataset}/prepared/check.json",
    log:
        "<logs>/{dataset}/prepare.log",
    benchmark:
        "<logs>/{dataset}/prepare.tsv"
    conda:
        plan.environment
    threads: plan.settings.threads
    resources:
        mem=asks.memory("prepare"),
        runtime=asks.runtime("prepare"),
    params:
        code=code_of("slice_store"),
        raw=no_reason(arguments.raw_folder),
        folder=subpath(output.manifest, parent=True),
    message:
        "{wildcards.dataset}: prepare"
    shell:
        "begin {log:q}; python -m sdseg prepare --name {wildcards.dataset} --settings {input.settings:q} --raw {params.raw:q}"
        " --split {input.split:q} --output {params.folder:q} --jobs {threads} >> {log:q} 2>&1"
