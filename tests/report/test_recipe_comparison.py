"""Recipes of one dataset against each other, and over the seeds of one recipe."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from sdseg.report.collect import collect_results
from sdseg.report.recipe_comparison import recipe_comparisons, recipes_with_seeds
from tests.helpers.stage_results import StageResults, edit_json


def test_recipes_are_tested_in_pairs_unless_they_differ(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc",))
    (comparison,) = recipe_comparisons(collect_results(tmp_path).datasets[0])
    assert comparison.paired is not None
    a, b = (rival.dice.mean for rival in (comparison.a, comparison.b))
    assert comparison.paired.difference == pytest.approx(b - a, abs=1e-6)
    edit_json(tmp_path / "cvc" / "unet" / "evaluation" / "summary.json", protocol="paper")
    (comparison,) = recipe_comparisons(collect_results(tmp_path).datasets[0])
    assert (comparison.paired, comparison.reason) == (None, "they differ in protocol")


def test_runs_named_by_seed_are_averaged(stages: StageResults, tmp_path: Path) -> None:
    for seed in (0, 1, 10, 2):
        stages.run(tmp_path / "cvc" / f"sdseg-seed{seed}", seed=seed)
    (row,) = recipes_with_seeds(collect_results(tmp_path).datasets[0])
    means = [run.summary.dice.mean for run in collect_results(tmp_path).runs]
    assert (row.recipe, row.seeds, row.dice.n) == ("sdseg", ("0", "1", "2", "10"), 4)
    assert row.dice.mean == pytest.approx(statistics.mean(means))
    assert row.dice.sd == pytest.approx(statistics.stdev(means))
    edit_json(tmp_path / "cvc" / "sdseg-seed1" / "evaluation" / "summary.json", protocol="paper")
    assert recipes_with_seeds(collect_results(tmp_path).datasets[0]) == ()  # they do not compare


def test_a_recipe_with_seeds_fights_as_one_by_its_mean(stages: StageResults, tmp_path: Path) -> None:
    for seed in range(3):
        stages.run(tmp_path / "cvc" / f"sdseg-seed{seed}", seed=seed)
    stages.run(tmp_path / "cvc" / "unet", seed=9)
    (dataset,) = collect_results(tmp_path).datasets
    (comparison,) = recipe_comparisons(dataset)
    assert (comparison.a.recipe, comparison.b.recipe) == ("sdseg", "unet")
    assert comparison.paired is not None
    *ours, theirs = ({case.case: case.dice for case in run.cases or ()} for run in dataset.runs)
    means = {case: statistics.mean(one[case] for one in ours) for case in theirs}
    assert comparison.paired.better == sum(theirs[case] > means[case] for case in theirs)
    assert comparison.paired.difference == pytest.approx(statistics.mean(theirs[case] - means[case] for case in theirs))
    (tmp_path / "cvc" / "sdseg-seed1" / "evaluation" / "cases.csv").unlink()
    (comparison,) = recipe_comparisons(collect_results(tmp_path).datasets[0])
    assert (comparison.paired, comparison.reason) == (None, "scores per case are missing")
