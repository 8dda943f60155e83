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
    wildcard_constraints:
        recipe="|".join(plan.settings.trainings),
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


rule out_of_fold:
    input:
        manifest=PREPARED,
        settings="<results>/{dataset}/dataset.yaml",
        folds=plan.folds_of,
        models=plan.fold_models,
    output:
        summary="<results>/{dataset}/{recipe}/evaluation/summary.json",
        cases="<results>/{dataset}/{recipe}/evaluation/cases.csv",
    log:
        "<logs>/{dataset}/{recipe}/evaluate.log",
    wildcard_constraints:
        recipe="|".join(plan.cross_validated_names) or "(?!)",
    conda:
        plan.environment
    threads: plan.settings.threads
    resources:
        gpu=plan.gpus,
        mem=asks.memory("scores"),
        runtime=asks.runtime("scores"),
    params:
        code=code_of("out_of_fold"),
        prepared=subpath(input.manifest, parent=True),
        raw=no_reason(arguments.raw_folder),
        models=lambda wildcards, input: [w for path in input.models for w in ("--model", os.path.dirname(path))],
        folder=subpath(output.summary, parent=True),
        batch=no_reason(arguments.batch),
        device=no_reason(plan.settings.device),
    message:
        "{wildcards.dataset}: out-of-fold scores, {wildcards.recipe}"
    shell:
        "begin {log:q}; python -m sdseg evaluate --prepared {params.prepared:q} {params.models:q} --folds {input.folds:q}"
        " --name {wildcards.recipe} --output {params.folder:q} --raw {params.raw:q} --settings {input.settings:q}"
        " --batch {params.batch} --device {params.device} >> {log:q} 2>&1"
