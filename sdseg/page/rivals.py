"""Recipes of one dataset against each other, case by case, and over the seeds of one recipe."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations

from sdseg.page import formats
from sdseg.page.gather import DatasetResults, Run
from sdseg.statistics import Paired, Seeds, over_seeds, paired

__all__ = ["Duel", "Seeded", "duels", "seeded"]

SEEDED = re.compile(r"^(?P<recipe>.+?)[-_.]seed[-_.]?(?P<seed>\d+)$")


@dataclass(frozen=True)
class Duel:
    """Two recipes on the same cases of a dataset."""

    a: Run
    b: Run
    found: Paired | None
    reason: str = ""

    @property
    def p_text(self) -> str:
        return formats.p_value(self.found.p_value) if self.found else formats.NOT_DEFINED


@dataclass(frozen=True)
class Seeded:
    """One recipe trained with several seeds: runs named `<recipe>-seed<number>` that may be compared."""

    recipe: str
    seeds: tuple[str, ...]
    runs: tuple[Run, ...]

    @property
    def dice(self) -> Seeds:
        return over_seeds([run.summary.dice.mean for run in self.runs])

    @property
    def iou(self) -> Seeds:
        return over_seeds([run.summary.iou.mean for run in self.runs])


def duels(dataset: DatasetResults) -> tuple[Duel, ...]:
    """Every pair of recipes on this dataset, by Dice per case; without a result where they must not be compared."""
    found = []
    for a, b in combinations(dataset.runs, 2):
        differing = dataset.differences(a, b)
        if differing:
            found.append(Duel(a, b, None, f"they differ in {', '.join(differing)}"))
        elif not a.cases or not b.cases:
            found.append(Duel(a, b, None, "scores per case are missing"))
        else:
            scores = [{case.case: case.dice for case in run.cases or ()} for run in (a, b)]
            alone = scores[0].keys() ^ scores[1].keys()
            if alone:
                found.append(Duel(a, b, None, f"{len(alone)} cases are scored in one of them only"))
            else:
                found.append(Duel(a, b, paired(*scores)))
    return tuple(found)


def seeded(dataset: DatasetResults) -> tuple[Seeded, ...]:
    """The recipes that were trained with several seeds; without those whose runs must not be compared."""
    groups: dict[str, dict[str, Run]] = {}
    for run in dataset.runs:
        if named := SEEDED.match(run.recipe):
            groups.setdefault(named["recipe"], {})[named["seed"]] = run
    found = (Seeded(recipe, tuple(runs), tuple(runs.values())) for recipe, runs in groups.items() if len(runs) > 1)
    return tuple(one for one in found if not any(dataset.differences(one.runs[0], run) for run in one.runs[1:]))
