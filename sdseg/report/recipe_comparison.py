"""Recipes of one dataset against each other, case by case, and over the seeds of one recipe."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from sdseg.metrics.intervals import Paired, Seeds, over_seeds, paired
from sdseg.report.collect import DatasetResults, ScoredRun

__all__ = ["ComparedRecipe", "RecipeComparison", "recipe_comparisons", "recipe_of", "recipes_with_seeds", "rivals"]

SEEDED = re.compile(r"^(?P<recipe>.+?)[-_.]seed[-_.]?(?P<seed>\d+)$")
FOLDED = re.compile(r"^(?P<recipe>.+?)-fold(?P<fold>\d+)$")

DIGITS = 9  # of a mean over seeds: equal scores stay equal


@dataclass(frozen=True)
class ComparedRecipe:
    """One recipe: its run, or its runs with several seeds, named `<recipe>-seed<number>`, that may be compared."""

    recipe: str
    runs: tuple[ScoredRun, ...]
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
class RecipeComparison:
    """Two recipes on the same cases of a dataset."""

    a: ComparedRecipe
    b: ComparedRecipe
    paired: Paired | None
    reason: str = ""


def recipe_comparisons(dataset: DatasetResults) -> tuple[RecipeComparison, ...]:
    """Every pair of recipes on this dataset, by Dice per case; without a result where they must not be compared.

    A recipe with several seeds stands as one, with the mean over seeds of each case.
    """
    compared = rivals(dataset)
    folds = {id(rival): rival.runs[0].summary.cross_validation is not None for rival in compared}
    pairs = combinations(compared, 2)  # out-of-fold scores are of other cases
    return tuple(_duel(dataset, a, b) for a, b in pairs if folds[id(a)] == folds[id(b)])


def rivals(dataset: DatasetResults) -> tuple[ComparedRecipe, ...]:
    """Every recipe of a dataset, one with several seeds as one, by name."""
    recipes = recipes_with_seeds(dataset)
    grouped = {id(run) for group in recipes for run in group.runs}
    alone = (ComparedRecipe(run.recipe, (run,)) for run in dataset.runs if id(run) not in grouped)
    return tuple(sorted((*recipes, *alone), key=lambda rival: rival.recipe))


def recipes_with_seeds(dataset: DatasetResults) -> tuple[ComparedRecipe, ...]:
    """The recipes that were trained with several seeds or folds; without those whose runs must not be compared."""
    recipes: dict[str, list[tuple[int, ScoredRun]]] = {}
    for run in dataset.runs:
        if match := SEEDED.match(run.recipe):
            recipes.setdefault(match["recipe"], []).append((int(match["seed"]), run))
        elif match := FOLDED.match(run.recipe):
            recipes.setdefault(f"{match['recipe']}, folds", []).append((int(match["fold"]), run))
    seeded = [
        ComparedRecipe(recipe, tuple(run for _, run in runs), tuple(str(seed) for seed, _ in runs))
        for recipe, runs in (
            (recipe, sorted(runs, key=lambda compared: compared[0])) for recipe, runs in recipes.items()
        )
        if len(runs) > 1
    ]
    return tuple(
        compared
        for compared in seeded
        if not any(dataset.differences(compared.runs[0], run) for run in compared.runs[1:])
    )


def recipe_of(run: ScoredRun) -> str:
    """The recipe's name without its seed."""
    match = SEEDED.match(run.recipe)
    return match["recipe"] if match else run.recipe


def _duel(dataset: DatasetResults, a: ComparedRecipe, b: ComparedRecipe) -> RecipeComparison:
    differing = dataset.differences(a.runs[0], b.runs[0])
    if differing:
        return RecipeComparison(a, b, None, f"they differ in {', '.join(differing)}")
    scores = a.by_case, b.by_case
    if scores[0] is None or scores[1] is None:
        return RecipeComparison(a, b, None, "scores per case are missing")
    apart = scores[0].keys() ^ scores[1].keys()
    if apart:
        return RecipeComparison(a, b, None, f"{len(apart)} cases are scored in one of them only")
    return RecipeComparison(a, b, paired(scores[0], scores[1]))
