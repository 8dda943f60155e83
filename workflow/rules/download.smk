"""Raw files: what is there, or can be got. Their folder is a parameter: a run can be planned before they are at hand."""


rule raw_record:
    input:
        plan.raw_needed,
    output:
        record="<results>/{dataset}/raw.json",
    log:
        "<logs>/{dataset}/download.log",
    localrule: True  # on the login node: the others of a cluster are often without network
    conda:
        plan.environment
    params:
        code=code_of("raw_record"),
        source=arguments.source,
        folder=no_reason(arguments.raw_folder),
        options=no_reason(arguments.download_options),
    message:
        "{wildcards.dataset}: raw files"
    shell:
        "begin {log:q}; python -m sdseg download --source {params.source} --raw {params.folder:q} --output {output.record:q}"
        " {params.options:q} >> {log:q} 2>&1"
