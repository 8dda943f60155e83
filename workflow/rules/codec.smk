"""Codecs: one made once and shared by every dataset, or one of each dataset's own, trained on its training split."""


rule codec_model:
    input:
        settings="<results>/codecs/{codec}/codec.yaml",
    output:
        config="<results>/codecs/{codec}/codec/config.json",
        weights="<results>/codecs/{codec}/codec/codec.safetensors",
    log:
        "<logs>/codecs/{codec}/codec.log",
    priority: 20  # every training of a latent recipe waits for it
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


rule dataset_codec:
    input:
        settings="<results>/codecs/{codec}/codec.yaml",
        manifest=PREPARED,
    output:
        config="<results>/{dataset}/codecs/{codec}/codec/config.json",
        weights="<results>/{dataset}/codecs/{codec}/codec/codec.safetensors",
    log:
        "<logs>/{dataset}/codecs/{codec}.log",
    priority: 20  # every training of a latent recipe waits for it
    conda:
        plan.environment
    threads: plan.settings.threads
    resources:
        gpu=plan.gpus,
        mem=asks.memory("codec"),
        runtime=asks.runtime("codec"),
    params:
        code=code_of("dataset_codec"),
        prepared=subpath(input.manifest, parent=True),
        folder=subpath(output.config, parent=True),
        device=no_reason(plan.settings.device),
    message:
        "{wildcards.dataset}: codec {wildcards.codec} (log: {log})"
    shell:
        "begin {log:q}; python -m sdseg codec --settings {input.settings:q} --prepared {params.prepared:q}"
        " --output {params.folder:q} --device {params.device} >> {log:q} 2>&1"
