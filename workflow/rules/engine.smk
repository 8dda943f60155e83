"""An exported graph to a TensorRT engine for the GPU it is built on; the job fails unless it computes what the model does."""


rule engines:
    input:
        plan.engines,


rule engine:
    input:
        manifest=PREPARED,
        settings="<results>/{dataset}/{recipe}/export.yaml",
        engines="<results>/{dataset}/{recipe}/engines.yaml",
        config="<results>/{dataset}/{recipe}/model/config.json",
        weights="<results>/{dataset}/{recipe}/model/weights.safetensors",
        exported=EXPORTED,
    output:
        engine="<results>/{dataset}/{recipe}/export/model.{precision}.engine",
        about="<results>/{dataset}/{recipe}/export/model.{precision}.engine.json",
    log:
        "<logs>/{dataset}/{recipe}/engine.{precision}.log",
    conda:
        plan.engine_environment
    threads: plan.settings.threads
    resources:
        gpu=1,
        mem=asks.memory("engine"),
        runtime=asks.runtime("engine"),
    params:
        code=code_of("engine"),
        prepared=subpath(input.manifest, parent=True),
        model=subpath(input.config, parent=True),
        folder=subpath(output.engine, parent=True),
        graph=no_reason(arguments.graph_of_engine),
        timing_cache=no_reason(arguments.timing_cache),
    message:
        "{wildcards.dataset}: engine of {wildcards.recipe}, {wildcards.precision}"
    shell:
        "begin {log:q}; python -m sdseg export --to tensorrt --model {params.model:q} --graph {params.graph:q}"
        " --prepared {params.prepared:q} --output {params.folder:q} --settings {input.settings:q}"
        " --engine-settings {input.engines:q} {params.timing_cache:q} >> {log:q} 2>&1"
