"""Scores of masks, and the rules for empty masks and for averaging, stated here once.

Rules
-----
* A *case* is one image (cvc, kseg, refuge2) or one whole volume (btcv, sts): a volume's slices are counted together.
* Both masks empty: Dice = IoU = 1. One of them empty: Dice = IoU = 0.
* Several structures: a case's score is the mean over its structures.
* A dataset's score is the mean over its cases, each counting the same, with the sample standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Counts", "Summary", "counts", "dice", "iou", "summarise"]

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
