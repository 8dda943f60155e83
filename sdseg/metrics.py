"""Scores of masks, and the rules for empty masks and for averaging, stated here once.

Rules
-----
* A *case* is one image (cvc, kseg, refuge2) or one whole volume (btcv, sts): a volume's slices are counted together.
* Both masks empty: Dice = IoU = 1. One of them empty: Dice = IoU = 0.
* Several structures: a case's score is the mean over its structures.
* A dataset's score is the mean over its cases, each counting the same, with the sample standard deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Counts", "Summary", "Tally", "counts", "dice", "iou", "summarise"]

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Numbers of pixels per structure, [K]: predicted, labelled, and both."""

    predicted: npt.NDArray[np.int64]
    labelled: npt.NDArray[np.int64]
    both: npt.NDArray[np.int64]

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.predicted + other.predicted, self.labelled + other.labelled, self.both + other.both)


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation and quartiles over cases."""

    mean: float
    sd: float
    minimum: float
    median: float
    maximum: float


class Tally:
    """Pixel counts by case, filled with slices in any order; a volume's slices are counted together."""

    def __init__(self) -> None:
        self.counts: dict[str, Counts] = {}
        self.slices: dict[str, int] = {}

    def add(self, cases: Sequence[str], predicted: npt.NDArray[np.bool_], labelled: npt.NDArray[np.bool_]) -> None:
        """Add masks [N,K,H,W]; `cases` names the case of each of the N slices."""
        for index, case in enumerate(cases):
            found = counts(predicted[index : index + 1], labelled[index : index + 1])
            self.counts[case] = self.counts[case] + found if case in self.counts else found
            self.slices[case] = self.slices.get(case, 0) + 1

    def dice(self) -> Values:
        """Dice per case and structure, [n_cases,K], in the order in which the cases came."""
        return np.stack([dice(pixels) for pixels in self.counts.values()])

    def iou(self) -> Values:
        """IoU per case and structure, [n_cases,K]."""
        return np.stack([iou(pixels) for pixels in self.counts.values()])


def counts(predicted: npt.NDArray[np.bool_], labelled: npt.NDArray[np.bool_]) -> Counts:
    """Pixel counts of bool masks [N,K,H,W], summed over N, H and W."""
    axes = (0, 2, 3)
    return Counts(predicted.sum(axis=axes), labelled.sum(axis=axes), (predicted & labelled).sum(axis=axes))


def dice(pixels: Counts) -> Values:
    """2|P∩L| / (|P|+|L|) per structure, [K]; 1 where both masks are empty."""
    total = pixels.predicted + pixels.labelled
    return np.where(total == 0, 1.0, 2.0 * pixels.both / np.maximum(total, 1))


def iou(pixels: Counts) -> Values:
    """|P∩L| / |P∪L| per structure, [K]; 1 where both masks are empty."""
    union = pixels.predicted + pixels.labelled - pixels.both
    return np.where(union == 0, 1.0, pixels.both / np.maximum(union, 1))


def summarise(values: Values) -> Summary:
    """Statistics over cases, [n_cases] with n_cases ≥ 1; the deviation of a single case is 0."""
    return Summary(
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        minimum=float(values.min()),
        median=float(np.median(values)),
        maximum=float(values.max()),
    )
