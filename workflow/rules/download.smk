"""Raw files: what is there. Their folder is a parameter, so that a run can be planned before the data is at hand."""


rule raw_record:
    input:
        plan.raw_needed,
        code=modules_of("download"),
    output:
        record="<results>/{dataset}/raw.json",
    log:
        "<logs>/{dataset}/download.log",
    conda:
        plan.environment
    params:
        source=plan.source,
        folder=plan.raw_folder,
    message:
        "{wildcards.dataset}: raw files"
    shell:
        "python -m sdseg download --source {params.source} --raw {params.folder:q} --output {output.record:q}"
        " > {log:q} 2>&1"
