"""Every result to one page that opens without network."""


rule report:
    input:
        summaries=[*plan.every(EVALUATED), *plan.out_of_fold()],
        parities=plan.every(EXPORTED),
        studies=plan.studies_of_all,
        engines=plan.engines_of_all,
        web_pages=plan.web_pages_of_all,
    output:
        page=report(
            "<results>/report.html", caption="../report/page.rst", category="Page", labels={"shows": "all results"}
        ),
        table=report(
            "<results>/summary.csv",
            caption="../report/summary.rst",
            category="Scores",
            labels={"dataset": "all", "recipe": "all"},
        ),
        figures="<results>/summary.json",
    log:
        "<logs>/report.log",
    conda:
        plan.environment
    resources:
        mem="2GB",
        runtime="1h",
    params:
        code=code_of("report"),
        engines=plan.engines_there,
        results=subpath(output.page, parent=True),
    message:
        "page of all results"
    shell:
        "begin {log:q}; python -m sdseg report --results {params.results:q} --output {output.page:q} >> {log:q} 2>&1"
