"""Synthetic raw files, for datasets with `origin: phantom`."""


rule raw_phantoms:
    output:
        record="<raw>/{dataset}/phantom.json",
        split="<raw>/{dataset}/split.csv",
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
        code=fingerprint("phantoms"),
        source=plan.source,
        seed=lambda wildcards: plan.settings.phantoms.seed,
        scale=lambda wildcards: plan.settings.phantoms.scale,
        folder=subpath(output.record, parent=True),
    message:
        "{wildcards.dataset}: phantoms"
    shell:
        "python -m sdseg phantoms --source {params.source} --seed {params.seed} --scale {params.scale}"
        " --output {params.folder:q} > {log:q} 2>&1"
