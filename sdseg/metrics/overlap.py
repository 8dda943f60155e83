"""Scores of masks; the rules for empty masks and for averaging are stated once, as `RULES`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "RULES",
    "Counts",
    "Score",
    "ScoreStatistics",
    "Tally",
    "counts",
    "cup_to_disc_error",
    "dice",
    "dice_official",
    "iou",
    "mean_score",
    "precision",
    "recall",
    "summarise",
]

# A value, not a docstring: the page shows them, and `python -OO` leaves docstrings out.
RULES = (
    "A case is one image or one whole volume: a volume's slices are counted together.",
    "Native size: the probability is resized back to the size of the file, then compared with the label of "
    "the file. These are the headline scores. Working size: compared before resizing, as the paper does.",
    "Both masks empty: Dice = IoU = 1. One of them empty: Dice = IoU = 0.",
    "Precision is undefined where nothing was predicted, recall where nothing is labelled.",
    "HD95 and NSD are in millimetres: undefined without spacing (images) and where both masks are empty. One "
    "mask empty: HD95 is undefined, NSD = 0.",
    "An undefined score is never a number: it is left out of every mean, and how many and why is listed beside it.",
    "Several structures: a case's score is the mean over those of its structures for which it is defined. Where they "
    "exclude each other no pixel belongs to two: of those above the threshold the likeliest has it.",
    "A dataset's score is the mean over its cases, each counting the same, with the sample standard deviation "
    "and a 95 % bootstrap interval over cases.",
    "The official code's Dice (`dice_official`) differs where the label is empty: 1 for a prediction, 0 for "
    "none. It is there to be compared with published figures alone.",
)
Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Score(NamedTuple):
    """One figure, or NaN with the reason why there is none."""

    value: float
    reason: str = ""

    @property
    def defined(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class Counts:
    """Numbers of pixels per structure, [K]: predicted, labelled, and both."""

    predicted: npt.NDArray[np.int64]
    labelled: npt.NDArray[np.int64]
    both: npt.NDArray[np.int64]

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.predicted + other.predicted, self.labelled + other.labelled, self.both + other.both)


@dataclass(frozen=True)
class ScoreStatistics:
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

    def add(self, cases: Sequence[str], predicted: Mask, labelled: Mask) -> None:
        """Add masks [N,K,H,W]; `cases` names the case of each of the N slices."""
        for index, case in enumerate(cases):
            pixels = counts(predicted[index : index + 1], labelled[index : index + 1])
            self.counts[case] = self.counts[case] + pixels if case in self.counts else pixels
            self.slices[case] = self.slices.get(case, 0) + 1

    def dice(self) -> Values:
        """Dice per case and structure, [n_cases,K], in the order in which the cases came."""
        return np.stack([dice(pixels) for pixels in self.counts.values()])

    def iou(self) -> Values:
        """IoU per case and structure, [n_cases,K]."""
        return np.stack([iou(pixels) for pixels in self.counts.values()])


def counts(predicted: Mask, labelled: Mask) -> Counts:
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


def precision(pixels: Counts) -> Values:
    """|P∩L| / |P| per structure, [K]; NaN where nothing was predicted."""
    return np.where(pixels.predicted == 0, nan, pixels.both / np.maximum(pixels.predicted, 1))


def recall(pixels: Counts) -> Values:
    """|P∩L| / |L| per structure, [K]; NaN where nothing is labelled."""
    return np.where(pixels.labelled == 0, nan, pixels.both / np.maximum(pixels.labelled, 1))


def dice_official(pixels: Counts) -> Values:
    """Dice per structure, [K], by the official code's rule for empty labels: 1 for a prediction, 0 for none.

    Source: `calculate_metric_percase` of lin-tianyu/Stable-Diffusion-Seg, taken over from TransUNet.
    """
    return np.where(pixels.labelled == 0, np.where(pixels.predicted > 0, 1.0, 0.0), dice(pixels))


def cup_to_disc_error(predicted: tuple[Mask, Mask], labelled: tuple[Mask, Mask]) -> Score:
    """Absolute difference of the vertical cup-to-disc ratios, from masks [H,W] of disc and cup: 0 is best.

    A vertical diameter is the number of rows from the first to the last that the mask touches (REFUGE challenge).
    Undefined where a disc is empty; an empty cup has the ratio 0.
    """
    ratios = []
    for word, (disc, cup) in (("predicted", predicted), ("labelled", labelled)):
        height = _rows(disc)
        if height == 0:
            return Score(nan, f"no disc {word}")
        ratios.append(_rows(cup) / height)
    return Score(abs(ratios[0] - ratios[1]))


def mean_score(scores: Sequence[Score]) -> Score:
    """Mean of those that are defined; where none is, undefined for the reasons they give."""
    values = [score.value for score in scores if score.defined]
    if values:
        return Score(float(np.mean(values)))
    return Score(nan, "; ".join(dict.fromkeys(score.reason for score in scores)))


def summarise(values: Values) -> ScoreStatistics:
    """Statistics over cases, [n_cases] with n_cases ≥ 1; the deviation of a single case is 0."""
    return ScoreStatistics(
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        minimum=float(values.min()),
        median=float(np.median(values)),
        maximum=float(values.max()),
    )


def _rows(mask: Mask) -> int:
    touched = np.flatnonzero(mask.any(axis=1))
    return int(touched[-1] - touched[0] + 1) if len(touched) else 0
