"""Dice when images get worse, the recipes of a dataset side by side: one plot per kind of harm."""

from __future__ import annotations

from statistics import fmean

from sdseg.artifacts.results.studies import Line, LineChart, Robustness
from sdseg.report.collect import DatasetResults
from sdseg.report.recipe_comparison import recipe_of

__all__ = ["robustness_by_recipe"]


def robustness_by_recipe(dataset: DatasetResults) -> tuple[LineChart, ...]:
    """A line per recipe, the mean over its seeds, against the level of harm, 0 being none.

    None where fewer than two recipes were studied, or the runs must not be compared. Of recipes studied on other images
    than most, or by other levels, no line is drawn.
    """
    studied: dict[str, list[Robustness]] = {}
    for run in dataset.runs:
        if (study := run.studies.of(Robustness)) is not None and study.curves:
            studied.setdefault(recipe_of(run), []).append(study)
    if dataset.differing or len(studied) < 2:
        return ()
    scopes = [_scope(study) for studies in studied.values() for study in studies]
    usual = max(scopes, key=scopes.count)
    recipes = {name: kept for name, all_ in studied.items() if (kept := [one for one in all_ if _scope(one) == usual])}
    left_out = sorted(set(studied) - set(recipes))
    if len(recipes) < 2:
        return ()
    remarks = (f"Studied on other images, and left out: {', '.join(left_out)}.",) if left_out else ()
    return tuple(_chart(number, recipes, remarks) for number in range(len(next(iter(recipes.values()))[0].curves)))


def _scope(study: Robustness) -> tuple[object, ...]:
    """What two studies must share to stand on one plot."""
    strengths = tuple((curve.kind, tuple(level.strength for level in curve.levels)) for curve in study.curves)
    return study.split, study.n_cases, study.size, study.data_checksum, strengths


def _chart(number: int, recipes: dict[str, list[Robustness]], remarks: tuple[str, ...]) -> LineChart:
    """Of the kind of harm with this number."""
    lines: dict[str, Line] = {}
    for name, studies in recipes.items():
        levels = zip(*(study.curves[number].levels for study in studies), strict=True)
        harmed = [(same[0].level, fmean(one.dice for one in same)) for same in levels]
        lines[name] = ((0, fmean(study.clean.dice for study in studies)), *harmed)
    curve = next(iter(recipes.values()))[0].curves[number]
    strengths = ", ".join(f"{level.strength:g}" for level in curve.levels)
    return LineChart(
        title=f"Dice under {curve.kind}",
        description=f"Dice of {', '.join(lines)} on images harmed by {curve.kind}",
        across="level of harm (0: none)",
        ticks=tuple(range(1 + max(level.level for level in curve.levels))),
        lines=lines,
        remarks=(f"Levels 1 to {len(curve.levels)}: {strengths} {curve.unit}".rstrip() + ".", *remarks),
    )
