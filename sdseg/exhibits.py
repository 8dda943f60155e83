"""Joint of evaluation: which cases are worth a look, and their pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sdseg.assessment import Assessed, Probability
from sdseg.data.overlays import LABEL_COLOUR, PREDICTION_COLOUR, Outline, draw_outlines
from sdseg.data.slices import to_display
from sdseg.data.store import SliceStore, structure_masks
from sdseg.tensors import MaskArray, RawImages

__all__ = ["overlay", "ranked"]


def ranked(scores: Sequence[Assessed]) -> dict[str, Assessed]:
    """Best, median and worst case by Dice, among those with something to see: a label or a prediction."""
    visible = [one for one in scores if one.headline.pixels.predicted.any() or one.headline.pixels.labelled.any()]
    ordered = sorted(visible or scores, key=lambda score: score.headline.whole["dice"].value)
    return {"best": ordered[-1], "median": ordered[len(ordered) // 2], "worst": ordered[0]}


def overlay(score: Assessed, store: SliceStore, probability: Probability, threshold: float) -> RawImages:
    """The case's slice with the largest label (without any: the largest prediction), with both outlines."""
    case = score.case
    labelled = structure_masks(store.masks[case.rows], store.manifest.structures)  # [Z,K,H,W]
    areas = labelled.sum(axis=(1, 2, 3))
    if not areas.any():
        found = [_predicted(store, probability, row, threshold) for row in range(case.rows.start, case.rows.stop)]
        areas = np.array([mask.sum() for mask in found])
    index = int(areas.argmax())
    row = case.start + index
    dice = f"Dice {score.headline.whole['dice'].value:.3f}"
    note = dice + (f"   slice {index + 1} of {case.slices}" if case.slices > 1 else "")
    return draw_outlines(
        to_display(store.images[row], store.manifest.image.window),
        (
            Outline("label", labelled[index], LABEL_COLOUR, width=6),
            Outline("prediction", _predicted(store, probability, row, threshold), PREDICTION_COLOUR, width=2),
        ),
        note,
    )


def _predicted(store: SliceStore, probability: Probability, row: int, threshold: float) -> MaskArray:
    """The model's masks of one slice, [K,H,W]."""
    return np.asarray(probability(store.images[row : row + 1])[0] > threshold)
