"""Joint of evaluation: which cases are worth a look, and their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdseg.artifacts import atomic_file, write_json
from sdseg.assessment import Assessed, Probability
from sdseg.data.overlays import LABEL_COLOUR, PREDICTION_COLOUR, Outline, draw_outlines
from sdseg.data.slices import to_display
from sdseg.data.sprites import outline_paths, pack_slices
from sdseg.data.store import SliceStore, structure_masks
from sdseg.tensors import MaskArray, RawImages

__all__ = ["overlay", "ranked", "write_volumes"]


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


def write_volumes(
    folder: Path, shown: Mapping[str, Assessed], store: SliceStore, probability: Probability, threshold: float
) -> None:
    """Write `folder`/<rank>.webp and <rank>.json of every volume in `shown`, each once, for scrolling in the page."""
    written = set()
    for rank, score in shown.items():
        if score.case.slices > 1 and score.case.case not in written:
            written.add(score.case.case)
            _write_volume(folder, rank, score, store, probability, threshold)


def _write_volume(
    folder: Path, rank: str, score: Assessed, store: SliceStore, probability: Probability, threshold: float
) -> None:
    case, manifest = score.case, store.manifest
    labelled = structure_masks(store.masks[case.rows], manifest.structures)  # [Z,K,H,W]
    rows = range(case.rows.start, case.rows.stop)
    predicted = [_predicted(store, probability, row, threshold) for row in rows]
    sprite = pack_slices(np.stack([to_display(store.images[row], manifest.image.window) for row in rows]))
    with atomic_file(folder / f"{rank}.webp") as temporary:
        temporary.write_bytes(sprite.webp)
    record: dict[str, Any] = {
        "case": case.case,
        "rank": rank,
        "dice": score.headline.whole["dice"].value,
        "size": manifest.image.size,
        "slices": case.slices,
        "columns": sprite.columns,
        "tile": sprite.tile,
        "first": int(labelled.sum(axis=(1, 2, 3)).argmax()),  # what is shown first: the largest label
        "label": [outline_paths(masks) for masks in labelled],
        "prediction": [outline_paths(masks) for masks in predicted],
    }
    write_json(folder / f"{rank}.json", record)


def _predicted(store: SliceStore, probability: Probability, row: int, threshold: float) -> MaskArray:
    """The model's masks of one slice, [K,H,W]."""
    return np.asarray(probability(store.images[row : row + 1])[0] > threshold)
