"""Synthetic raw files, for datasets with `origin: phantom`.

The results hold links to them, so that another raw folder is no other input: what is made already stays, and phantoms
that are gone are made again where something needs them.
"""


rule raw_phantoms:
    output:
        record="<results>/{dataset}/phantoms.json",
        split="<results>/{dataset}/phantoms.csv",
    log:
        "<logs>/{dataset}/phantoms.log",
    wildcard_constraints:
        dataset="|".join(name for name in plan.settings.datasets if plan.is_phantom(name)),
    conda:
        plan.environment
    resources:
        mem="2GB",
        runtime="1h",
    params:
        code=code_of("raw_phantoms"),
        source=arguments.source,
        seed=lambda wildcards: plan.settings.phantoms.seed,
        scale=lambda wildcards: plan.settings.phantoms.scale,
        folder=no_reason(arguments.raw_folder),
    message:
        "{wildcards.dataset}: phantoms"
    shell:
        "begin {log:q}; python -m sdseg phantoms --source {params.source} --seed {params.seed} --scale {params.scale}"
        " --output {params.folder:q} >> {log:q} 2>&1"
        ' && ln -sf "$(realpath {params.folder:q})"/phantom.json {output.record:q}'
        ' && ln -sf "$(realpath {params.folder:q})"/split.csv {output.split:q}'
