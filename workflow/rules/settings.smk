"""The part of the configuration that a stage depends on, as a file: only what was edited runs again."""

SETTINGS = (  # rule, file below the results, its text, its message
    ("dataset", "{dataset}/dataset.yaml", settings_files.dataset, "{wildcards.dataset}: settings"),
    ("codec", "codecs/{codec}/codec.yaml", settings_files.codec, "codec {wildcards.codec}: settings"),
    (
        "recipe",
        "{dataset}/{recipe}/recipe.yaml",
        settings_files.recipe,
        "{wildcards.dataset}: settings of {wildcards.recipe}",
    ),
    (
        "export",
        "{dataset}/{recipe}/export.yaml",
        settings_files.export,
        "{wildcards.dataset}: export settings of {wildcards.recipe}",
    ),
    (
        "engine",
        "{dataset}/{recipe}/engines.yaml",
        settings_files.engines,
        "{wildcards.dataset}: engine settings of {wildcards.recipe}",
    ),
    (
        "web",
        "{dataset}/{recipe}/web.yaml",
        settings_files.web,
        "{wildcards.dataset}: web page settings of {wildcards.recipe}",
    ),
    (
        "study",
        "{dataset}/{recipe}/studies.yaml",
        settings_files.studies,
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
        priority: 20 if concern == "codec" else 0  # so that codecs, for which trainings wait, are begun before all else
        localrule: True
        conda:
            plan.environment
        params:
            text=text,
        message:
            line
        shell:
            "printf %s {params.text:q} > {output:q} 2> {log:q}"
