"""Dice against the CPU seconds of training: what the recipes of a dataset reach in how much time."""

from __future__ import annotations

import json
import re
from statistics import fmean

from sdseg.artifacts.results.studies import Line, LineChart
from sdseg.report.collect import DatasetResults, ScoredRun
from sdseg.report.recipe_comparison import recipe_of

__all__ = ["dice_by_cpu_seconds", "round_ticks"]

BUDGET = re.compile(r"(?P<method>.+)-\d+s")  # a recipe named after its CPU seconds, `unet-800s`
# What a longer training of the same recipe may differ in.
LENGTH = ("steps", "seed", "validate_every", "checkpoint_every", "log_every")
Budget = tuple[str, float, float]  # name of the recipe, mean CPU seconds, mean Dice


def dice_by_cpu_seconds(dataset: DatasetResults) -> LineChart | None:
    """A point per recipe, the mean over its seeds.

    A line joins recipes that are named after their budgets, each with the settings that suit it (`unet-200s`,
    `unet-800s`), and recipes that differ in the length of training alone.

    None where no recipe was trained for two lengths, the runs must not be compared, or their CPU seconds were not
    recorded.
    """
    if dataset.differing:
        return None
    trained: dict[str, dict[str, list[ScoredRun]]] = {}
    for run in dataset.runs:
        if run.model and run.training and run.training.cpu_seconds:
            trained.setdefault(_method(run), {}).setdefault(recipe_of(run), []).append(run)
    if not any(len({_steps(run) for runs in recipes.values() for run in runs}) > 1 for recipes in trained.values()):
        return None
    methods = [[_budget(name, runs) for name, runs in recipes.items()] for recipes in trained.values()]
    lines: dict[str, Line] = {_name(budgets): _line(budgets) for budgets in methods}
    seconds = [at for line in lines.values() for at, _ in line]
    return LineChart(
        title="Dice by CPU seconds of training",
        description=f"Dice of {len(lines)} methods trained for {min(seconds):.0f} to {max(seconds):.0f} CPU seconds",
        across="CPU seconds of training",
        ticks=round_ticks(min(seconds), max(seconds)),
        lines=lines,
        logarithmic=True,
    )


def _method(run: ScoredRun) -> str:
    """What the recipes of a line have in common."""
    if named := BUDGET.fullmatch(recipe_of(run)):
        return named["method"]
    recipe = run.model.recipe if run.model else {}
    kept = {key: value for key, value in recipe.items() if key != "description"}
    kept["training"] = {key: value for key, value in recipe.get("training", {}).items() if key not in LENGTH}
    return json.dumps(kept, sort_keys=True)


def _steps(run: ScoredRun) -> int:
    return run.training.steps if run.training else 0


def _budget(name: str, runs: list[ScoredRun]) -> Budget:
    seconds = [run.training.cpu_seconds for run in runs if run.training and run.training.cpu_seconds]
    return name, fmean(seconds), fmean(run.summary.dice.mean for run in runs)


def _line(budgets: list[Budget]) -> Line:
    return tuple(sorted((max(1, round(seconds)), dice) for _, seconds, dice in budgets))


def _name(budgets: list[Budget]) -> str:
    """The recipe's name, of several lengths without the one it ends in (`unet-800s`)."""
    name = budgets[0][0]
    if named := BUDGET.fullmatch(name):
        return named["method"]
    return re.sub(r"[-_.]\d+[a-z]?$", "", name) if len(budgets) > 1 else name


def round_ticks(low: float, high: float) -> tuple[int, ...]:
    """1, 2, 5, 10, … from the last one below `low` to the first above `high`."""
    rounds = [factor * 10**power for power in range(10) for factor in (1, 2, 5)]
    first = max((tick for tick in rounds if tick <= low), default=1)
    last = next(tick for tick in rounds if tick >= max(high, first + 1))
    return tuple(tick for tick in rounds if first <= tick <= last)
