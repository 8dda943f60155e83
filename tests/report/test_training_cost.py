"""Dice against the CPU seconds of training: which recipes a line joins, and when there is nothing to draw."""

from __future__ import annotations

import json
from pathlib import Path

from sdseg.report.collect import DatasetResults, collect_results
from sdseg.report.training_cost import dice_by_cpu_seconds
from tests.helpers.stage_results import StageResults, edit_json


def collected(folder: Path) -> DatasetResults:
    (dataset,) = collect_results(folder).datasets
    return dataset


def trained_for(run: Path, steps: int, cpu_seconds: float | None, dice: float, seed: int = 0) -> None:
    config = json.loads((run / "model" / "config.json").read_text("utf-8"))
    config["recipe"]["training"] |= {"steps": steps, "seed": seed}
    config["training"] |= {"steps": steps, "cpu_seconds": cpu_seconds}
    (run / "model" / "config.json").write_text(json.dumps(config), "utf-8")
    summary = json.loads((run / "evaluation" / "summary.json").read_text("utf-8"))
    edit_json(run / "evaluation" / "summary.json", dice=summary["dice"] | {"mean": dice})


def test_a_line_joins_what_differs_in_length_alone(stages: StageResults, tmp_path: Path) -> None:
    for name, steps, seconds, dice, seed in (
        ("unet-200s-seed0", 10, 190.0, 0.5, 0),
        ("unet-200s-seed1", 10, 210.4, 0.6, 1),
        ("unet-800s", 40, 790.0, 0.7, 0),
        ("sdseg-200s", 10, 205.0, 0.65, 0),
    ):
        run = tmp_path / "cvc" / name
        stages.run(run)
        trained_for(run, steps, seconds, dice, seed)
    chart = dice_by_cpu_seconds(collected(tmp_path))
    assert chart is not None
    assert set(chart.lines) == {"unet", "sdseg"}
    (first, second), (single,) = chart.lines["unet"], chart.lines["sdseg"]
    assert (first[0], second[0], single[0]) == (200, 790, 205)
    assert (round(first[1], 9), second[1], single[1]) == (0.55, 0.7, 0.65)
    assert (chart.ticks, chart.logarithmic) == ((200, 500, 1000), True)

    trained_for(tmp_path / "cvc" / "unet-800s", 40, None, 0.7)  # trained before they were counted
    assert dice_by_cpu_seconds(collected(tmp_path)) is None


def test_budgets_of_one_name_may_be_tuned_each_for_itself(stages: StageResults, tmp_path: Path) -> None:
    for name, steps, seconds, rate in (("unet-200s", 10, 190.0, 0.01), ("unet-800s", 40, 790.0, 0.001)):
        run = tmp_path / "cvc" / name
        stages.run(run)
        trained_for(run, steps, seconds, 0.5)
        config = json.loads((run / "model" / "config.json").read_text("utf-8"))
        config["recipe"]["optimiser"]["learning_rate"] = rate
        (run / "model" / "config.json").write_text(json.dumps(config), "utf-8")
    chart = dice_by_cpu_seconds(collected(tmp_path))
    assert chart is not None
    assert {name: len(line) for name, line in chart.lines.items()} == {"unet": 2}


def test_recipes_of_one_length_draw_nothing(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc",))
    assert dice_by_cpu_seconds(collected(tmp_path)) is None
