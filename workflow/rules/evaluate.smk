"""Model and slice store to scores per case and on the whole, with overlays."""


rule scores:
    input:
        manifest=PREPARED,
        settings="<results>/{dataset}/dataset.yaml",
        config="<results>/{dataset}/{recipe}/model/config.json",
        weights="<results>/{dataset}/{recipe}/model/weights.safetensors",
    output:
        summary="<results>/{dataset}/{recipe}/evaluation/summary.json",
        cases=report(
            "<results>/{dataset}/{recipe}/evaluation/cases.csv",
            caption="../report/cases.rst",
            category="Scores",
            labels={"dataset": "{dataset}", "recipe": "{recipe}"},
        ),
    log:
        "<logs>/{dataset}/{recipe}/evaluate.log",
    conda:
        plan.environment
    threads: plan.settings.threads
    resources:
        gpu=plan.gpus,
        mem=asks.memory("scores"),
        runtime=asks.runtime("scores"),
    params:
        code=code_of("scores"),
        prepared=subpath(input.manifest, parent=True),
        raw=no_reason(arguments.raw_folder),
        model=subpath(input.config, parent=True),
        folder=subpath(output.summary, parent=True),
        batch=no_reason(arguments.batch),
        device=no_reason(plan.settings.device),
    message:
        "{wildcards.dataset}: evaluate {wildcards.recipe}"
    shell:
        "begin {log:q}; python -m sdseg evaluate --prepared {params.prepared:q} --model {params.model:q} --output {params.folder:q}"
        " --raw {params.raw:q} --settings {input.settings:q}"
        " --batch {params.batch} --device {params.device} >> {log:q} 2>&1"
