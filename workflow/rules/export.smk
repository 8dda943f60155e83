"""Model to one ONNX graph; the job fails when the graph does not compute what the model does."""


rule graph:
    input:
        manifest=PREPARED,
        settings="<results>/{dataset}/{recipe}/export.yaml",
        config="<results>/{dataset}/{recipe}/model/config.json",
        weights="<results>/{dataset}/{recipe}/model/weights.safetensors",
    output:
        graph="<results>/{dataset}/{recipe}/export/model.onnx",
        ports="<results>/{dataset}/{recipe}/export/io.json",
        parity="<results>/{dataset}/{recipe}/export/parity.json",
    log:
        "<logs>/{dataset}/{recipe}/export.log",
    conda:
        plan.environment
    threads: plan.settings.threads
    resources:
        mem=asks.memory("graph"),
        runtime=asks.runtime("graph"),
    params:
        code=code_of("graph"),
        prepared=subpath(input.manifest, parent=True),
        model=subpath(input.config, parent=True),
        folder=subpath(output.graph, parent=True),
    message:
        "{wildcards.dataset}: export {wildcards.recipe}"
    shell:
        "begin {log:q}; python -m sdseg export --model {params.model:q} --prepared {params.prepared:q} --output {params.folder:q}"
        " --settings {input.settings:q} >> {log:q} 2>&1"
