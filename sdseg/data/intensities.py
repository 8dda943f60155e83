"""How the values of images and volumes lie, and how they lay in what a model was trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sdseg.artifacts.image_contract import Intensities
from sdseg.core.array_types import AnyArray

__all__ = ["Spread", "intensities_of", "spread_of", "unlike"]

SAMPLE = 250_000  # values of an image that its percentiles are taken from, evenly spread
FAR = 4.0  # so many times wider or narrower than any training image is another scale


@dataclass(frozen=True)
class Spread:
    """How the values of one image or volume lie, at its native size."""

    low: float
    p1: float
    p50: float
    p99: float
    high: float

    @property
    def width(self) -> float:
        """From the 1st to the 99th percentile."""
        return self.p99 - self.p1


def spread_of(images: AnyArray) -> Spread:
    """Of an image or the slices of a volume, [N,H,W,C] or any other shape; percentiles of an even sample."""
    low, p1, p50, p99, high = (
        float(value) for value in (images.min(), *np.percentile(_sample(images), (1, 50, 99)), images.max())
    )
    return Spread(low, p1, p50, p99, high)


def intensities_of(spreads: Sequence[Spread]) -> Intensities | None:
    """The record of the training cases; None where there are none."""
    if not spreads:
        return None

    def over_cases(values: list[float]) -> tuple[float, float, float]:
        return min(values), float(np.median(values)), max(values)

    return Intensities(
        cases=len(spreads),
        low=min(each.low for each in spreads),
        high=max(each.high for each in spreads),
        p1=over_cases([each.p1 for each in spreads]),
        p50=over_cases([each.p50 for each in spreads]),
        p99=over_cases([each.p99 for each in spreads]),
        width=over_cases([each.width for each in spreads]),
    )


def unlike(spread: Spread, trained: Intensities | None) -> list[str]:
    """In words, how an input lies clearly outside what the model was trained on; nothing where it does not."""
    if trained is None:
        return []
    narrow, _, wide = trained.width
    here = f"most values lie between {spread.p1:.4g} and {spread.p99:.4g}"
    there = f"those of the training images between {trained.p1[1]:.4g} and {trained.p99[1]:.4g}"
    if spread.width > FAR * wide or spread.width * FAR < narrow:
        return [f"{here}, {there}: another scale than the model was trained on; give the original values"]
    if not trained.p1[0] <= spread.p50 <= trained.p99[2]:
        return [f"{here}, {there}: shifted against what the model was trained on; give the original values"]
    return []


def _sample(images: AnyArray) -> npt.NDArray[np.float64]:
    """At most twice SAMPLE values, evenly spread over all axes but the last, in double precision."""
    flat = images.reshape(-1) if images.flags.c_contiguous else None
    if images.size <= SAMPLE:
        return np.asarray(images, dtype=np.float64)
    if flat is None:  # a view: thinned axis by axis, so that nothing is copied
        step = max(1, math.ceil((images.size / SAMPLE) ** (1 / max(1, sum(length > 1 for length in images.shape)))))
        return np.asarray(images[tuple(slice(None, None, step) for _ in images.shape)], dtype=np.float64)
    step = images.size // SAMPLE
    while math.gcd(step, images.size) > 1:  # else the same columns of every row
        step += 1
    return np.asarray(flat[::step], dtype=np.float64)
