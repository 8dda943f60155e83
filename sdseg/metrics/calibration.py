"""Whether a probability means what it says, and the threshold that suits it best."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sdseg.metrics.overlap import Counts, dice

__all__ = ["THRESHOLDS", "Calibration", "ThresholdCounts"]

Probability = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]
THRESHOLDS: Values = np.round(np.arange(0.05, 0.951, 0.05), 2)


class Calibration:
    """A reliability diagram, filled batch by batch: pixels sorted into bins of equal width by their probability."""

    def __init__(self, bins: int = 15) -> None:
        self.edges = np.linspace(0.0, 1.0, bins + 1)
        self.pixels = np.zeros(bins, dtype=np.int64)
        self.positives = np.zeros(bins, dtype=np.int64)
        self.probability = np.zeros(bins, dtype=np.float64)  # sums

    def add(self, probability: Probability, labelled: Mask) -> None:
        """Take probabilities in [0,1] and labels of any one shape; structures count together."""
        bins = len(self.pixels)
        flat = probability.ravel()
        place = np.clip(np.ceil(flat * bins).astype(np.intp) - 1, 0, bins - 1)  # bins are open below, closed above
        self.pixels += np.bincount(place, minlength=bins)
        self.positives += np.bincount(place[labelled.ravel()], minlength=bins)
        self.probability += np.bincount(place, weights=flat, minlength=bins)

    @property
    def ece(self) -> float:
        """Expected calibration error, 0 to 1: |mean probability − share of positives| over bins, weighted by pixels."""
        return float(np.abs(self.probability - self.positives).sum() / max(int(self.pixels.sum()), 1))

    def record(self) -> dict[str, Any]:
        """For summary.json; a bin without pixels has no means."""
        some = self.pixels > 0
        means = np.divide(self.probability, self.pixels, where=some, out=np.zeros_like(self.probability))
        shares = np.divide(self.positives, self.pixels, where=some, out=np.zeros_like(self.probability))
        return {
            "ece": self.ece,
            "pixels": int(self.pixels.sum()),
            "bins": [
                {
                    "low": float(self.edges[index]),
                    "high": float(self.edges[index + 1]),
                    "pixels": int(self.pixels[index]),
                    "probability": float(means[index]) if some[index] else None,
                    "positives": float(shares[index]) if some[index] else None,
                }
                for index in range(len(self.pixels))
            ],
        }


class ThresholdCounts:
    """Pixel counts of one case at every threshold of `THRESHOLDS` at once."""

    def __init__(self, structures: int) -> None:
        shape = (structures, len(THRESHOLDS) + 1)
        self.every = np.zeros(shape, dtype=np.int64)  # by the number of thresholds that a pixel exceeds
        self.labelled = np.zeros(shape, dtype=np.int64)

    def add(self, probability: Probability, labelled: Mask) -> None:
        """Take [N,K,H,W]."""
        for index in range(len(self.every)):
            own = labelled[:, index].ravel()
            exceeded = np.searchsorted(THRESHOLDS.astype(np.float32), probability[:, index].ravel(), side="left")
            self.every[index] += np.bincount(exceeded, minlength=self.every.shape[1])
            self.labelled[index] += np.bincount(exceeded[own], minlength=self.every.shape[1])

    def dice(self) -> Values:
        """Dice, mean over structures, at each of `THRESHOLDS`."""
        predicted, both = (_exceeding(histogram) for histogram in (self.every, self.labelled))  # [K,T]
        labelled = self.labelled.sum(axis=1)
        return np.array(
            [dice(Counts(predicted[:, t], labelled, both[:, t])).mean() for t in range(len(THRESHOLDS))],
            dtype=np.float64,
        )


def _exceeding(histogram: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Pixels above each threshold, from pixels by how many thresholds they exceed; [K,T+1] -> [K,T]."""
    return np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1][:, 1:]
