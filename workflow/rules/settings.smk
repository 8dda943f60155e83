"""The part of the configuration that a stage depends on, as a file: only what was edited runs again."""

SETTINGS = (  # rule, file below the results, its text, its message
    ("dataset", "{dataset}/dataset.yaml", plan.dataset_text, "{wildcards.dataset}: settings"),
    ("codec", "codecs/{codec}/codec.yaml", plan.codec_text, "codec {wildcards.codec}: settings"),
    (
        "recipe",
        "{dataset}/{recipe}/recipe.yaml",
        plan.recipe_text,
        "{wildcards.dataset}: settings of {wildcards.recipe}",
    ),
    (
        "export",
        "{dataset}/{recipe}/export.yaml",
        plan.export_text,
        "{wildcards.dataset}: export settings of {wildcards.recipe}",
    ),
    (
        "engine",
        "{dataset}/{recipe}/engines.yaml",
        plan.engines_text,
        "{wildcards.dataset}: engine settings of {wildcards.recipe}",
    ),
    (
        "study",
        "{dataset}/{recipe}/studies.yaml",
        plan.studies_text,
        "{wildcards.dataset}: study settings of {wildcards.recipe}",
    ),
)

for concern, file, text, line in SETTINGS:

    rule:
        name:
            f"{concern}_settings"
        output:
            f"<results>/{file}",
        log:
            f"<logs>/{file}.log",
        localrule: True
        conda:
            plan.environment
        params:
            text=text,
        message:
            line
        shell:
            "printf %s {params.text:q} > {output:q} 2> {log:q}"
