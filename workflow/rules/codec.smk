"""The mask autoencoder: trained once here, or taken in, and shared by every dataset that names it."""


rule codec_model:
    input:
        settings="<results>/codecs/{codec}/codec.yaml",
    output:
        config="<results>/codecs/{codec}/codec/config.json",
        weights="<results>/codecs/{codec}/codec/codec.safetensors",
    log:
        "<logs>/codecs/{codec}/codec.log",
    conda:
        plan.environment
    threads: plan.settings.threads
    resources:
        gpu=plan.gpus,
        mem=asks.memory("codec"),
        runtime=asks.runtime("codec"),
    params:
        code=code_of("codec_model"),
        folder=subpath(output.config, parent=True),
        device=no_reason(plan.settings.device),
    message:
        "codec {wildcards.codec} (log: {log})"
    shell:
        "begin {log:q}; python -m sdseg codec --settings {input.settings:q} --output {params.folder:q} --device {params.device}"
        " >> {log:q} 2>&1"
