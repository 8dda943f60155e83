"""The page's table of recipes against several annotators."""

from __future__ import annotations

from pathlib import Path

from sdseg.report.annotator_agreement import annotator_rows
from sdseg.report.collect import collect_results
from sdseg.report.report import report
from tests.helpers.stage_results import StageResults, edit_json
from tests.report.test_report import Page


def figure(mean: float | None, undefined: str = "") -> dict[str, object]:
    return {"mean": mean, "n": 0 if mean is None else 2, "undefined": {undefined: 2} if undefined else {}}


METRICS = {
    "energy_distance": figure(0.412),
    "best_dice": figure(0.71),
    "mean_dice": figure(0.63),
    "majority_dice": figure(0.66),
    "diversity": figure(None, "one hypothesis: nothing to differ from"),
    "disagreement": figure(0.38),
    "annotators_dice": figure(0.74),
}


def test_recipes_stand_above_the_annotators_themselves(stages: StageResults, tmp_path: Path) -> None:
    results = stages.results(tmp_path, ("cvc",), ("sdseg", "unet"))
    record = {"names": ["anna", "ben"], "hypotheses": 1, "size": "working size", "metrics": METRICS}
    edit_json(results / "cvc/unet/evaluation/summary.json", annotators=record | {"dice_by_annotator": {}})
    edit_json(results / "cvc/sdseg/evaluation/summary.json", annotators_missing="no hypotheses to compare")
    (dataset,) = collect_results(results).datasets
    sdseg, unet, among = annotator_rows(dataset)
    assert (sdseg.missing, sdseg.cells) == ("no hypotheses to compare", ())
    assert unet.cells[0] is not None
    assert unet.cells[0].text == "0.412"
    assert [one.text if one else None for one in among.cells] == [None, None, "0.740", None, "0.380"]
    report(results, results / "report.html")
    text = Page((results / "report.html").read_text("utf-8")).text
    assert "Against the annotators" in text
    assert "the annotators (anna, ben) among themselves" in text
    assert "one hypothesis: nothing to differ from" in text
    assert "not compared: no hypotheses to compare" in text


def test_one_annotator_has_no_table(stages: StageResults, tmp_path: Path) -> None:
    results = stages.results(tmp_path, ("cvc",), ("unet",))
    assert annotator_rows(collect_results(results).datasets[0]) == ()
    report(results, results / "report.html")
    assert "Against the annotators" not in (results / "report.html").read_text("utf-8")
