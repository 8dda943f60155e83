"""Recipes against several annotators, and the annotators against each other, as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass

from sdseg.report.collect import DatasetResults
from sdseg.report.model_card import Cell, cell

__all__ = ["AnnotatorRow", "annotator_columns", "annotator_rows"]

COLUMNS = {
    "energy_distance": "Energy distance",
    "best_dice": "Dice, best hypothesis",
    "mean_dice": "Dice, each annotator",
    "majority_dice": "Dice, majority",
    "diversity": "Diversity",
}
AMONG = {"mean_dice": "annotators_dice", "diversity": "disagreement"}  # what stands there for the annotators themselves


@dataclass(frozen=True)
class AnnotatorRow:
    """A recipe with its cells, or the reason why there are none; the annotators themselves have no `hypotheses`."""

    title: str
    hypotheses: int | None
    cells: tuple[Cell | None, ...]
    missing: str = ""


def annotator_columns() -> tuple[str, ...]:
    """Headings of the cells."""
    return tuple(COLUMNS.values())


def annotator_rows(results: DatasetResults) -> tuple[AnnotatorRow, ...]:
    """One row per recipe, and last the annotators among themselves; none where a dataset has one annotator."""
    rows, among = [], None
    for run in results.runs:
        summary = run.summary.annotators
        if summary is not None:
            cells = tuple(cell(name, summary.metrics.get(name)) for name in COLUMNS)
            rows.append(AnnotatorRow(run.recipe, summary.hypotheses, cells))
            own = tuple(cell(name, summary.metrics.get(AMONG.get(name, ""))) for name in COLUMNS)
            among = AnnotatorRow(f"the annotators ({', '.join(summary.names)}) among themselves", None, own)
        elif run.summary.annotators_missing:
            rows.append(AnnotatorRow(run.recipe, None, (), run.summary.annotators_missing))
    return (*rows, among) if among else tuple(rows)
