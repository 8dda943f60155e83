"""Scores of several hypotheses against several annotators: how near, and as different among each other as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import nan
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import LabelArray, MaskArray
from sdseg.metrics.overlap import Score, mean_score

__all__ = ["ANNOTATOR_METRICS", "PairwiseOverlap", "consensus", "score_hypotheses"]

ONE_HYPOTHESIS = "one hypothesis: nothing to differ from"
ONE_ANNOTATOR = "one annotator"
Matrix = npt.NDArray[np.float64]


class PairwiseOverlap:
    """Dice and IoU of every two of S hypotheses, A annotators and their majority, of one structure of one case.

    Both masks empty: Dice = IoU = 1. One of them empty: 0.
    """

    def __init__(self, hypotheses: MaskArray, annotated: MaskArray, majority: MaskArray) -> None:
        """Take masks [S,…], [A,…] and […] of one shape; S and A are 1 or more."""
        rows = [mask.reshape(len(mask), -1) for mask in (hypotheses, annotated, majority[None])]
        flat = np.concatenate(rows).astype(np.float32)
        flat = flat[:, flat.any(axis=0)]  # most pixels are nobody's
        both = np.rint(flat.astype(np.float64) @ flat.T)  # [R,R] with R = S + A + 1
        area = np.diagonal(both)
        total = area[:, None] + area[None]
        self.dice: Matrix = np.where(total == 0, 1.0, 2 * both / np.maximum(total, 1))
        self.iou: Matrix = np.where(total == 0, 1.0, both / np.maximum(total - both, 1))
        self.hypotheses, self.annotators = slice(0, len(hypotheses)), slice(len(hypotheses), len(flat) - 1)
        self.majority = len(flat) - 1

    def dice_of_annotator(self, number: int) -> float:
        """Mean Dice of the hypotheses against one annotator."""
        return float(self.dice[self.hypotheses, self.annotators][:, number].mean())


def consensus(labels: Sequence[LabelArray]) -> LabelArray:
    """The majority of label maps of one shape: an object where at least half of the annotators see one.

    Its label is the one that most of them give it, among equals the lowest.
    """
    maps = np.stack(labels)
    best, votes = np.zeros(maps.shape[1:], dtype=maps.dtype), np.zeros(maps.shape[1:], dtype=np.int64)
    for label in np.unique(maps):
        if label:
            own = (maps == label).sum(axis=0)
            best = np.where(own > votes, label, best)
            votes = np.maximum(votes, own)
    return np.asarray(np.where(2 * (maps > 0).sum(axis=0) >= len(maps), best, 0), dtype=maps.dtype)


def score_hypotheses(structures: Sequence[PairwiseOverlap]) -> dict[str, Score]:
    """Every metric of `ANNOTATOR_METRICS` for one case: the mean over its structures."""
    return {name: mean_score([metric(one) for one in structures]) for name, metric in ANNOTATOR_METRICS.items()}


def _energy_distance(pairs: PairwiseOverlap) -> Score:
    """D² = 2 E d(S,Y) − E d(S,S') − E d(Y,Y') with d = 1 − IoU, over all pairs, each with itself included."""
    distance = 1.0 - pairs.iou
    own, theirs = pairs.hypotheses, pairs.annotators
    between = distance[own, theirs].mean()
    return Score(float(2 * between - distance[own, own].mean() - distance[theirs, theirs].mean()))


def _best_dice(pairs: PairwiseOverlap) -> Score:
    return Score(float(pairs.dice[pairs.hypotheses, pairs.annotators].max(axis=0).mean()))


def _distinct(similarity: Matrix, reason: str) -> Score:
    """The mean over pairs of different members."""
    above = similarity[np.triu_indices(len(similarity), k=1)]
    return Score(float(above.mean())) if above.size else Score(nan, reason)


def _spread(pairs: PairwiseOverlap, who: slice, reason: str) -> Score:
    return _distinct(1.0 - pairs.iou[who, who], reason)


# Each is written per case and as a figure over cases, in this order.
ANNOTATOR_METRICS: Mapping[str, Callable[[PairwiseOverlap], Score]] = MappingProxyType(
    {
        "energy_distance": _energy_distance,  # 0 is best
        "best_dice": _best_dice,  # of every annotator the Dice of the hypothesis nearest to him, and their mean
        "mean_dice": lambda pairs: Score(float(pairs.dice[pairs.hypotheses, pairs.annotators].mean())),
        "majority_dice": lambda pairs: Score(float(pairs.dice[pairs.hypotheses, pairs.majority].mean())),
        # 1 − IoU between different hypotheses, and beside it between different annotators.
        "diversity": lambda pairs: _spread(pairs, pairs.hypotheses, ONE_HYPOTHESIS),
        "disagreement": lambda pairs: _spread(pairs, pairs.annotators, ONE_ANNOTATOR),
        # What one annotator has against another: a model need not be nearer to them than they are to each other.
        "annotators_dice": lambda pairs: _distinct(pairs.dice[pairs.annotators, pairs.annotators], ONE_ANNOTATOR),
    }
)
