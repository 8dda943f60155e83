"""Slice store to model folder. `last` and `state` beside it are no outputs: Snakemake would delete what resuming needs."""


rule model:
    input:
        manifest=PREPARED,
        recipe="<results>/{dataset}/{recipe}/recipe.yaml",
        codec=plan.codec_needed,
        image_codec=plan.image_codec_needed,
        start=plan.start_needed,
        teacher=plan.teacher_needed,
        folds=plan.folds_needed,
    output:
        config="<results>/{dataset}/{recipe}/model/config.json",
        weights="<results>/{dataset}/{recipe}/model/weights.safetensors",
    log:
        "<logs>/{dataset}/{recipe}/train.log",
    wildcard_constraints:
        recipe="|".join(plan.trained),
    priority: 10  # scores, graphs, studies and pages of it come after; what is longest begins first
    conda:
        plan.environment
    threads: plan.settings.threads
    resources:
        gpu=plan.gpus * plan.settings.processes,
        mem=asks.memory("train"),
        runtime=asks.runtime("train"),
    params:
        code=code_of("model"),
        prepared=subpath(input.manifest, parent=True),
        codec=lambda wildcards, input: (["--codec", os.path.dirname(input.codec)] if input.codec else []),
        image_codec=lambda wildcards, input: (
            ["--image-codec", os.path.dirname(input.image_codec)] if input.image_codec else []
        ),
        start=lambda wildcards, input: (["--start-from", os.path.dirname(input.start)] if input.start else []),
        teacher=lambda wildcards, input: (["--teacher", os.path.dirname(input.teacher)] if input.teacher else []),
        fold=plan.fold_options,
        folder=subpath(output.config, parent=True),
        speed=no_reason(settings_files.speed_options),
        device=no_reason(plan.settings.device),
        trainer=no_reason(arguments.trainer),
        on_edit=no_reason(plan.settings.on_edit),
    message:
        "{wildcards.dataset}: train {wildcards.recipe} (log: {log})"
    shell:
        "begin {log:q}; {params.trainer} train --prepared {params.prepared:q} --recipe {input.recipe:q} --name {wildcards.recipe}"
        " {params.codec:q} {params.image_codec:q} {params.start:q} {params.teacher:q} {params.fold:q} {params.speed:q} --output {params.folder:q} --device {params.device}"
        " --on-edit {params.on_edit} >> {log:q} 2>&1"


rule ensemble:
    input:
        members=plan.members,
    output:
        config="<results>/{dataset}/{recipe}/model/config.json",
        weights="<results>/{dataset}/{recipe}/model/weights.safetensors",
    log:
        "<logs>/{dataset}/{recipe}/ensemble.log",
    wildcard_constraints:
        recipe="|".join(plan.ensembles) or "(?!)",
    conda:
        plan.environment
    resources:
        mem=asks.memory("graph"),
        runtime="1h",
    params:
        code=code_of("ensemble"),
        models=lambda wildcards, input: [w for path in input.members for w in ("--model", os.path.dirname(path))],
        folder=subpath(output.config, parent=True),
    message:
        "{wildcards.dataset}: {wildcards.recipe}, the mean of its members"
    shell:
        "begin {log:q}; python -m sdseg ensemble {params.models:q} --name {wildcards.recipe} --output {params.folder:q}"
        " >> {log:q} 2>&1"
