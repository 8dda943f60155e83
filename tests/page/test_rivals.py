"""Recipes of one dataset against each other, and over the seeds of one recipe."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from sdseg.page.gather import gather
from sdseg.page.rivals import duels, seeded
from tests.page.results_tree import edit_json, write_results, write_run


def test_recipes_are_tested_in_pairs_unless_they_differ(tmp_path: Path) -> None:
    write_results(tmp_path, ("cvc",))
    (duel,) = duels(gather(tmp_path).datasets[0])
    assert duel.found is not None
    a, b = (run.summary.dice.mean for run in (duel.a, duel.b))
    assert duel.found.difference == pytest.approx(b - a, abs=1e-6)
    edit_json(tmp_path / "cvc" / "unet" / "evaluation" / "summary.json", protocol="paper")
    (duel,) = duels(gather(tmp_path).datasets[0])
    assert (duel.found, duel.reason) == (None, "they differ in protocol")


def test_runs_named_by_seed_are_averaged(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / "cvc" / f"sdseg-seed{seed}", seed=seed)
    (row,) = seeded(gather(tmp_path).datasets[0])
    means = [run.summary.dice.mean for run in gather(tmp_path).runs]
    assert (row.recipe, row.seeds, row.dice.n) == ("sdseg", ("0", "1", "2"), 3)
    assert row.dice.mean == pytest.approx(statistics.mean(means))
    assert row.dice.sd == pytest.approx(statistics.stdev(means))
    edit_json(tmp_path / "cvc" / "sdseg-seed1" / "evaluation" / "summary.json", protocol="paper")
    assert seeded(gather(tmp_path).datasets[0]) == ()  # they do not compare
