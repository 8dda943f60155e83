"""Joint of training and evaluation: any backend over the cases of a store, scored by the same lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import FloatArray, MaskArray, RawImages
from sdseg.data.store import Case, SliceStore, structure_masks
from sdseg.mask_rule import MaskRule
from sdseg.metrics import overlap

__all__ = ["CaseScore", "Predict", "predicted_by", "score_cases"]

# Raw images [N,H,W,C], labelled masks [N,K,H,W] -> predicted masks [N,K,H,W]. Only a codec looks at the labels.
Predict = Callable[[RawImages, MaskArray], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class CaseScore:
    """Dice and IoU of one case, per structure [K] and as their mean, with the pixel counts behind them."""

    case: Case
    pixels: overlap.Counts
    dice: npt.NDArray[np.float64]
    iou: npt.NDArray[np.float64]

    @property
    def mean_dice(self) -> float:
        return float(self.dice.mean())

    @property
    def mean_iou(self) -> float:
        return float(self.iou.mean())


def predicted_by(probability: Callable[[RawImages], FloatArray], rule: MaskRule) -> Predict:
    """What `score_cases` wants, made from a backend's `probability`."""
    return lambda images, labelled: rule.masks(probability(images))


def score_cases(predict: Predict, store: SliceStore, cases: Sequence[Case], batch: int) -> Iterator[CaseScore]:
    """Score `cases` in order. Batches run over the borders of cases: single images are not computed one by one."""
    structures = store.manifest.structures
    rows = np.concatenate([np.arange(case.start, case.start + case.slices) for case in cases])
    owners = np.repeat(np.arange(len(cases)), [case.slices for case in cases])
    pending: overlap.Counts | None = None
    current = 0
    for first in range(0, len(rows), batch):
        chosen, owner = rows[first : first + batch], owners[first : first + batch]
        labelled = structure_masks(store.masks[chosen], structures)
        predicted = predict(store.images[chosen], labelled)
        for index in np.unique(owner):
            if index != current and pending is not None:
                yield _score(cases[current], pending)
                pending, current = None, int(index)
            own = owner == index
            pixels = overlap.counts(predicted[own], labelled[own])
            pending = pixels if pending is None else pending + pixels
    if pending is not None:
        yield _score(cases[current], pending)


def _score(case: Case, pixels: overlap.Counts) -> CaseScore:
    return CaseScore(case, pixels, overlap.dice(pixels), overlap.iou(pixels))
