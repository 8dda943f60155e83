"""The part of the configuration that a stage depends on, as a file: only what was edited runs again."""


rule dataset_settings:
    output:
        "<results>/{dataset}/dataset.yaml",
    log:
        "<logs>/{dataset}/settings.log",
    localrule: True
    conda:
        plan.environment
    params:
        text=plan.dataset_text,
    message:
        "{wildcards.dataset}: settings"
    shell:
        "printf %s {params.text:q} > {output:q} 2> {log:q}"


rule recipe_settings:
    output:
        "<results>/{dataset}/{recipe}/recipe.yaml",
    log:
        "<logs>/{dataset}/{recipe}/settings.log",
    localrule: True
    conda:
        plan.environment
    params:
        text=plan.recipe_text,
    message:
        "{wildcards.dataset}: settings of {wildcards.recipe}"
    shell:
        "printf %s {params.text:q} > {output:q} 2> {log:q}"


rule codec_settings:
    output:
        "<results>/codecs/{codec}/codec.yaml",
    log:
        "<logs>/codecs/{codec}/settings.log",
    localrule: True
    conda:
        plan.environment
    params:
        text=plan.codec_text,
    message:
        "codec {wildcards.codec}: settings"
    shell:
        "printf %s {params.text:q} > {output:q} 2> {log:q}"
