"""Rows of a model card: every check of every export, and only what is particular about a case that went wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdseg.artifacts.results.web_page import WebPage
from sdseg.core.errors import UserError
from sdseg.core.files import write_json
from sdseg.report.collect import collect_results
from sdseg.report.model_card import checks, failures
from sdseg.report.report import report
from tests.helpers.stage_results import StageResults, edit_json
from tests.report.test_report import Page


@pytest.fixture
def results(stages: StageResults, tmp_path: Path) -> Path:
    return stages.results(tmp_path, ("cvc",), ("sdseg",))


def parity_of(results: Path) -> dict[str, Any]:
    written: dict[str, Any] = json.loads((results / "cvc" / "sdseg" / "export" / "parity.json").read_text("utf-8"))
    return written


def test_an_older_export_has_one_check(results: Path) -> None:
    edit_json(results / "cvc" / "sdseg" / "export" / "parity.json", checks=None)
    (one,) = checks(collect_results(results).runs[0])
    assert (one.file, one.precision, one.backend, one.passed) == ("model.onnx", "fp32", "onnxruntime-cpu", True)


@pytest.mark.parametrize("recorded", [{"precision": "fp16"}, {}])
def test_an_unchecked_page_has_the_precision_of_its_graph(results: Path, recorded: dict[str, str]) -> None:
    """Of records that do not tell it, that of the graph beside them."""
    export = results / "cvc" / "sdseg" / "export"
    about = {"bytes": 1, "sha256": "0", "graph": "model.onnx", "graph_checksum": "0", "runtime": "onnxruntime-web 1"}
    page = WebPage.checked(file="segment.html", **about, **recorded, not_run="no browser")
    write_json(export / "segment.json", page.content())
    run = collect_results(results).runs[0]
    assert run.graph is not None
    known = run.graph.model_copy(update={"precision": "fp32" if recorded else "bf16"})
    *_, last = checks(replace(run, graph=known))
    assert (last.file, last.precision, last.not_run) == (
        "segment.html",
        recorded.get("precision", "bf16"),
        "no browser",
    )


def test_every_graph_on_every_backend_and_every_engine(results: Path) -> None:
    export, parity = results / "cvc" / "sdseg" / "export", parity_of(results) | {"mean_abs_difference": 1.2e-8}
    tolerances = {
        "max_abs_difference": 0.6,
        "max_mean_difference": 0.01,
        "max_dice_difference": 0.01,
        "min_mask_dice": 0.98,
    }
    int8 = {**parity, "file": "model.int8.onnx", "precision": "int8", "max_abs_difference": 0.25, "passed": False}
    int8 |= {"tolerances": tolerances, "few_cases": True, "mask_dice": 0.9716}
    bf16 = {"file": "model.bf16.onnx", "precision": "bf16", "backend": "onnxruntime-cpu", "not_run": "no convolution"}
    edit_json(export / "parity.json", checks=[{**parity, "file": "model.onnx"}, int8, bf16])
    engine = {"precision": "fp16", "gpu": "NVIDIA X", "parity": {**parity, "backend": "tensorrt", "precision": "fp16"}}
    write_json(export / "model.fp16.engine.json", engine)
    found = checks(collect_results(results).runs[0])
    assert [(one.file, one.backend, one.passed) for one in found] == [
        ("model.onnx", "onnxruntime-cpu", True),
        ("model.int8.onnx", "onnxruntime-cpu", False),
        ("model.bf16.onnx", "onnxruntime-cpu", None),
        ("model.fp16.engine", "tensorrt, NVIDIA X", True),
    ]
    report(results, results / "report.html")
    text = Page((results / "report.html").read_text("utf-8")).text
    for expected in (
        "int8 model.int8.onnx onnxruntime-cpu ✗ failed on few cases 0.2500 ≤ 0.6 1.2e−8 ≤ 0.01",
        "0.9716 ≥ 0.98",
        "bf16 model.bf16.onnx onnxruntime-cpu not checked: no convolution",
        "fp16 model.fp16.engine tensorrt, NVIDIA X ✓ passed",
    ):
        assert expected in text, expected


def test_an_engine_that_says_nothing_of_its_check_is_not_passed(results: Path) -> None:
    path = results / "cvc" / "sdseg" / "export" / "model.fp16.engine.json"
    write_json(path, {"precision": "fp16", "gpu": "NVIDIA X", "parity": None})
    assert checks(collect_results(results).runs[0])[-1].passed is None
    path.write_text(path.read_text("utf-8")[:20], "utf-8")
    with pytest.raises(UserError, match=r"(?s)truncated.*model\.fp16\.engine\.json"):
        collect_results(results)


def test_what_is_undefined_everywhere_is_no_remark_on_a_case(results: Path) -> None:
    table = results / "cvc" / "sdseg" / "evaluation" / "cases.csv"
    lines = table.read_text("utf-8").splitlines()
    scores = [float(line.split(",")[1]) for line in lines[1:]]
    worst = scores.index(min(scores)) + 1
    lines[worst] += "; precision: nothing predicted"
    table.write_text("\n".join(lines) + "\n", "utf-8")
    shown = failures(collect_results(results).runs[0])
    assert [case.note for case in shown] == ["precision: nothing predicted"] + [""] * 4
    assert [case.dice for case in shown] == sorted(scores)[:5]
