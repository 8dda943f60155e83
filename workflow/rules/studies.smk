"""What else is found out about a model, into the folder of its scores; and the paper's ablation, by its own target."""


rule studies:
    input:
        plan.studies,


rule ablation:
    input:
        plan.ablation,


if plan.study_files:

    rule model_studies:
        input:
            manifest=PREPARED,
            settings="<results>/{dataset}/{recipe}/studies.yaml",
            config="<results>/{dataset}/{recipe}/model/config.json",
            weights="<results>/{dataset}/{recipe}/model/weights.safetensors",
            scores=EVALUATED,  # scoring anew replaces the whole folder
            codec=plan.codec_needed,
            start=plan.start_needed,
        output:
            plan.study_files,
        log:
            "<logs>/{dataset}/{recipe}/studies.log",
        conda:
            plan.environment
        threads: plan.settings.threads
        resources:
            gpu=plan.gpus,
            mem=asks.memory("studies"),
            runtime=asks.runtime("studies"),
        params:
            code=code_of("model_studies"),
            prepared=subpath(input.manifest, parent=True),
            model=subpath(input.config, parent=True),
            folder=subpath(output[0], parent=True),
            origins=lambda wildcards, input: arguments.origins_of_latents(input.codec, input.start),
            batch=no_reason(arguments.batch),
            device=no_reason(plan.settings.device),
        message:
            "{wildcards.dataset}: studies of {wildcards.recipe} (log: {log})"
        shell:
            "begin {log:q}; python -m sdseg evaluate --prepared {params.prepared:q} --model {params.model:q} --output {params.folder:q}"
            " --studies {input.settings:q} {params.origins:q} --batch {params.batch} --device {params.device}"
            " >> {log:q} 2>&1"
