"""A checked graph to one HTML file for a browser; the job fails when the page does not compute what the graph does."""


rule web:
    input:
        plan.web_pages,


rule web_page:
    input:
        manifest=PREPARED,
        settings="<results>/{dataset}/{recipe}/export.yaml",
        web="<results>/{dataset}/{recipe}/web.yaml",
        graph="<results>/{dataset}/{recipe}/export/model.onnx",
        exported=EXPORTED,
    output:
        page="<results>/{dataset}/{recipe}/export/segment.html",
        about="<results>/{dataset}/{recipe}/export/segment.json",
    log:
        "<logs>/{dataset}/{recipe}/web.log",
    conda:
        plan.environment
    resources:
        mem=asks.memory("graph"),
        runtime="1h",
    params:
        code=code_of("web_page"),
        parts=parts_of_page(),
        prepared=subpath(input.manifest, parent=True),
    message:
        "{wildcards.dataset}: web page of {wildcards.recipe}"
    shell:
        "begin {log:q}; python -m sdseg export --to web --model {input.graph:q} --prepared {params.prepared:q}"
        " --output {output.page:q} --settings {input.settings:q} --web-settings {input.web:q} >> {log:q} 2>&1"
