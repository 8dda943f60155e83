"""Recipes of one dataset against each other, case by case, and over the seeds of one recipe."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from sdseg.metrics.intervals import Paired, Seeds, over_seeds, paired
from sdseg.report import formats
from sdseg.report.collect import DatasetResults, Run

__all__ = ["Duel", "Rival", "duels", "recipe_of", "seeded"]

SEEDED = re.compile(r"^(?P<recipe>.+?)[-_.]seed[-_.]?(?P<seed>\d+)$")

DIGITS = 9  # of a mean over seeds: equal scores stay equal


@dataclass(frozen=True)
class Rival:
    """One recipe: its run, or its runs with several seeds, named `<recipe>-seed<number>`, that may be compared."""

    recipe: str
    runs: tuple[Run, ...]
    seeds: tuple[str, ...] = ()

    @property
    def dice(self) -> Seeds:
        return over_seeds([run.summary.dice.mean for run in self.runs])

    @property
    def iou(self) -> Seeds:
        return over_seeds([run.summary.iou.mean for run in self.runs])

    @property
    def by_case(self) -> dict[str, float] | None:
        """Dice per case, of several seeds their mean; None where scores per case are missing."""
        tables = [{case.case: case.dice for case in run.cases or ()} for run in self.runs]
        if any(table.keys() != tables[0].keys() or not table for table in tables):
            return None
        return {case: round(fmean(table[case] for table in tables), DIGITS) for case in tables[0]}


@dataclass(frozen=True)
class Duel:
    """Two recipes on the same cases of a dataset."""

    a: Rival
    b: Rival
    found: Paired | None
    reason: str = ""

    @property
    def p_text(self) -> str:
        return formats.p_value(self.found.p_value) if self.found else formats.NOT_DEFINED


def duels(dataset: DatasetResults) -> tuple[Duel, ...]:
    """Every pair of recipes on this dataset, by Dice per case; without a result where they must not be compared.

    A recipe with several seeds stands as one, with the mean over seeds of each case.
    """
    groups = seeded(dataset)
    grouped = {id(run) for group in groups for run in group.runs}
    alone = (Rival(run.recipe, (run,)) for run in dataset.runs if id(run) not in grouped)
    rivals = sorted((*groups, *alone), key=lambda rival: rival.recipe)
    return tuple(_duel(dataset, a, b) for a, b in combinations(rivals, 2))


def seeded(dataset: DatasetResults) -> tuple[Rival, ...]:
    """The recipes that were trained with several seeds; without those whose runs must not be compared."""
    groups: dict[str, list[tuple[int, Run]]] = {}
    for run in dataset.runs:
        if named := SEEDED.match(run.recipe):
            groups.setdefault(named["recipe"], []).append((int(named["seed"]), run))
    found = [
        Rival(recipe, tuple(run for _, run in runs), tuple(str(seed) for seed, _ in runs))
        for recipe, runs in ((recipe, sorted(runs, key=lambda one: one[0])) for recipe, runs in groups.items())
        if len(runs) > 1
    ]
    return tuple(one for one in found if not any(dataset.differences(one.runs[0], run) for run in one.runs[1:]))


def recipe_of(run: Run) -> str:
    """The recipe's name without its seed."""
    named = SEEDED.match(run.recipe)
    return named["recipe"] if named else run.recipe


def _duel(dataset: DatasetResults, a: Rival, b: Rival) -> Duel:
    differing = dataset.differences(a.runs[0], b.runs[0])
    if differing:
        return Duel(a, b, None, f"they differ in {', '.join(differing)}")
    scores = a.by_case, b.by_case
    if scores[0] is None or scores[1] is None:
        return Duel(a, b, None, "scores per case are missing")
    apart = scores[0].keys() ^ scores[1].keys()
    if apart:
        return Duel(a, b, None, f"{len(apart)} cases are scored in one of them only")
    return Duel(a, b, paired(scores[0], scores[1]))
