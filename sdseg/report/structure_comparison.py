"""Dice of every structure of a dataset, recipe beside recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sdseg.artifacts.results.evaluation import MetricSummary
from sdseg.metrics.intervals import over_seeds
from sdseg.report.collect import DatasetResults
from sdseg.report.formats import NOT_DEFINED, spread
from sdseg.report.model_card import Cell, cell
from sdseg.report.recipe_comparison import rivals

__all__ = ["StructureComparison", "structure_comparison"]


@dataclass(frozen=True)
class StructureComparison:
    """Dice at the size of the headline: a row for each structure, and one for their mean; a cell for each recipe."""

    recipes: tuple[str, ...]
    rows: dict[str, tuple[Cell, ...]]
    left_out: tuple[str, ...]  # recipes whose scores are of something else


def structure_comparison(dataset: DatasetResults) -> StructureComparison | None:
    """None for a dataset of one structure, and where no two recipes are to be compared."""
    compared = rivals(dataset)
    if len(compared) < 2:
        return None
    first = compared[0].runs[0]
    structures = first.summary.structures
    alike = [
        rival
        for rival in compared
        if not dataset.differences(first, rival.runs[0])
        and rival.runs[0].summary.structures.keys() == structures.keys()
        and (rival.runs[0].summary.cross_validation is None) == (first.summary.cross_validation is None)
    ]
    if len(structures) < 2 or len(alike) < 2:
        return None
    rows = {
        name: tuple(_cell([run.summary.structures[name].get("dice") for run in rival.runs]) for rival in alike)
        for name in structures
    }
    rows["mean over structures"] = tuple(_cell([run.summary.dice for run in rival.runs]) for rival in alike)
    left_out = tuple(rival.recipe for rival in compared if rival not in alike)
    return StructureComparison(tuple(rival.recipe for rival in alike), rows, left_out)


def _cell(scores: Sequence[MetricSummary | None]) -> Cell:
    """Over the cases of one training; of several over their means."""
    if len(scores) == 1:
        return cell("dice", scores[0]) or Cell(NOT_DEFINED)
    means = [score.mean for score in scores if score is not None and score.mean is not None]
    if len(means) < len(scores):
        return Cell(NOT_DEFINED, note="undefined for some of the trainings")
    seeds = over_seeds(means)
    return Cell(spread(seeds.mean, seeds.sd))
