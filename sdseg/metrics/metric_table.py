"""The metrics of a structure, each one entry: what is computed, written and shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import nan

import numpy as np

from sdseg.core.array_types import MaskArray
from sdseg.metrics import overlap
from sdseg.metrics.overlap import Score
from sdseg.metrics.surface import SurfaceDistances, hausdorff, surface_dice, surface_distances

__all__ = ["METRICS", "MaskPair", "Metric"]

NO_SPACING = "no spacing: the size of a pixel in millimetres is not known"


@dataclass(frozen=True)
class MaskPair:
    """One structure of one case, as predicted and as labelled; what several metrics need is computed once."""

    predicted: MaskArray  # [Z,H,W]
    labelled: MaskArray  # [Z,H,W]
    spacing: tuple[float, ...]  # mm along Z, rows and columns; empty where it is not known
    tolerance: float  # of NSD, in mm

    @cached_property
    def pixels(self) -> overlap.Counts:
        """Numbers of pixels, [1]."""
        return overlap.counts(self.predicted[:, None], self.labelled[:, None])

    @property
    def missing(self) -> str:
        """Which of the two masks is empty, in words; nothing where neither is."""
        predicted, labelled = self.pixels.predicted[0] > 0, self.pixels.labelled[0] > 0
        if not (predicted or labelled):
            return "both masks empty"
        return "" if predicted and labelled else "nothing labelled" if predicted else "nothing predicted"

    @cached_property
    def distances(self) -> SurfaceDistances:
        """Between the surfaces, in mm; of masks with a spacing of which neither is empty."""
        return surface_distances(self.predicted, self.labelled, self.spacing)


def _hd95(pair: MaskPair) -> Score:
    reason = pair.missing if pair.spacing else NO_SPACING
    return Score(nan, reason) if reason else Score(hausdorff(pair.distances))


def _nsd(pair: MaskPair) -> Score:
    if not pair.spacing or pair.missing == "both masks empty":
        return _hd95(pair)
    return Score(0.0 if pair.missing else surface_dice(pair.distances, pair.tolerance))


def _share(value: float, where_undefined: str = "") -> Score:
    return Score(value, where_undefined if np.isnan(value) else "")


@dataclass(frozen=True)
class Metric:
    """How a structure is scored, and how the page shows it."""

    title: str
    score: Callable[[MaskPair], Score]
    digits: int = 3  # after the point


# Every score of a structure: a column of cases.csv and of summary.csv, and a key of summary.json each, in this order.
METRICS: dict[str, Metric] = {
    "dice": Metric("Dice", lambda pair: _share(float(overlap.dice(pair.pixels)[0]))),
    "iou": Metric("IoU", lambda pair: _share(float(overlap.iou(pair.pixels)[0]))),
    "precision": Metric(
        "Precision", lambda pair: _share(float(overlap.precision(pair.pixels)[0]), "nothing predicted")
    ),
    "recall": Metric("Recall", lambda pair: _share(float(overlap.recall(pair.pixels)[0]), "nothing labelled")),
    "hd95": Metric("HD95 (mm)", _hd95, digits=2),
    "nsd": Metric("NSD", _nsd),
}
