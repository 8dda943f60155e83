"""The page of results links to a model in one HTML file, from wherever it lies itself."""

from __future__ import annotations

from pathlib import Path

from sdseg.artifacts.results.web_page import WebPage
from sdseg.core.files import write_json
from sdseg.report.report import report
from tests.helpers.stage_results import StageResults


def test_a_page_beside_a_graph_is_linked(stages: StageResults, tmp_path: Path) -> None:
    folder = stages.results(tmp_path / "results", ("cvc",))
    run = next(path for path in sorted((folder / "cvc").iterdir()) if (path / "export").is_dir())
    about = {"bytes": 15_800_000, "sha256": "0" * 64, "graph": "model.onnx", "graph_checksum": "0" * 64}
    record = WebPage.checked(file="segment.html", **about, runtime="onnxruntime-web 1.30.0", not_run="no browser")
    write_json(run / "export" / "segment.json", record.content())
    report(folder, folder / "report.html")
    assert "Try it in your browser" not in (folder / "report.html").read_text("utf-8")  # there is no such file
    (run / "export" / "segment.html").write_text("", "utf-8")
    report(folder, tmp_path / "elsewhere" / "page.html")
    text = (tmp_path / "elsewhere" / "page.html").read_text("utf-8")
    assert f'href="../results/cvc/{run.name}/export/segment.html"' in text
    assert "15.8 MB" in text
    assert "not checked here" in text
    assert "onnxruntime-web 1.30.0" in text
