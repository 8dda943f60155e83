"""Dice against latency: every recipe of the run in every runtime, side by side, by its own target; then the page."""


rule latencies:
    input:
        scores=plan.every(EVALUATED),
        graphs=plan.every(EXPORTED),
    output:
        "<results>/pareto.json",
    log:
        "<logs>/pareto.log",
    conda:
        plan.environment
    resources:
        mem="4GB",
        runtime="2h",
    params:
        code=code_of("latencies"),
        script=os.path.join(os.path.dirname(str(workflow.current_basedir)), "..", "benchmarks", "pareto.py"),
        results=subpath(output[0], parent=True),
    message:
        "latency of every recipe, side by side (log: {log})"
    shell:
        "begin {log:q}; python {params.script:q} --results {params.results:q} --output {output:q} >> {log:q} 2>&1"


rule pareto:
    input:
        "<results>/pareto.json",
    log:
        "<logs>/pareto-page.log",
    conda:
        plan.environment
    resources:
        mem="2GB",
        runtime="1h",
    params:
        code=code_of("pareto"),
        results=subpath(input[0], parent=True),
    message:
        "page of all results, with Dice against latency"
    shell:
        "begin {log:q}; python -m sdseg report --results {params.results:q} >> {log:q} 2>&1"
