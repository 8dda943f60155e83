"""Recipes of a dataset on one plot per kind of harm; which are left out, and when there is nothing to draw."""

from __future__ import annotations

import json
from pathlib import Path

from sdseg.report.collect import DatasetResults, collect_results
from sdseg.report.robustness_comparison import robustness_by_recipe
from tests.helpers.stage_results import StageResults, edit_json


def collected(folder: Path) -> DatasetResults:
    (dataset,) = collect_results(folder).datasets
    return dataset


def test_recipes_stand_on_one_plot_per_kind_of_harm(stages: StageResults, tmp_path: Path) -> None:
    names = ("ldseg", "sdseg-onestep", "unet-seed3", "unet-seed4")
    for number, name in enumerate(names):
        stages.run(tmp_path / "cvc" / name)
        path = tmp_path / "cvc" / name / "evaluation" / "robustness.json"
        study = json.loads(path.read_text("utf-8"))
        edit_json(path, clean=study["clean"] | {"dice": 0.5 + 0.1 * number})
    charts = robustness_by_recipe(collected(tmp_path))
    kinds = [curve["kind"] for curve in study["curves"]]
    assert [chart.title for chart in charts] == [f"Dice under {kind}" for kind in kinds]
    first = charts[0]
    assert set(first.lines) == {"ldseg", "sdseg-onestep", "unet"}
    assert [round(line[0][1], 9) for line in first.lines.values()] == [0.5, 0.6, 0.75]  # of seeds the mean
    levels = study["curves"][0]["levels"]
    assert first.lines["ldseg"][1:] == tuple((level["level"], level["dice"]) for level in levels)

    edit_json(tmp_path / "cvc" / "ldseg" / "evaluation" / "robustness.json", n_cases=17)
    first = robustness_by_recipe(collected(tmp_path))[0]
    assert set(first.lines) == {"sdseg-onestep", "unet"}
    strengths = ", ".join(f"{level['strength']:g}" for level in levels)
    assert first.remarks == (
        f"Levels 1 to {len(levels)}: {strengths} {study['curves'][0]['unit']}.",
        "Studied on other images, and left out: ldseg.",
    )

    (tmp_path / "cvc" / "sdseg-onestep" / "evaluation" / "robustness.json").unlink()
    assert robustness_by_recipe(collected(tmp_path)) == ()
