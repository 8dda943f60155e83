"""A whole volume from patches: the one window that every backend of a three-dimensional model looks through.

What MONAI's `sliding_window_inference` computes, without torch: an exported graph needs neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from sdseg.config.patches import SlidingWindow
from sdseg.core.array_types import AnyArray, FloatArray

__all__ = ["over_patches"]

LEAST_WEIGHT = 1e-3  # of a corner, of which a Gaussian leaves nothing
SIGMA = 0.125  # of the Gaussian, as a part of the patch's side


def over_patches(
    compute: Callable[[FloatArray], FloatArray], volume: AnyArray, window: SlidingWindow, outside: float
) -> FloatArray:
    """What `compute` finds in the patches of a volume, blended.

    Parameters
    ----------
    compute: raw patches [n,d,h,w,C], float32 -> [n,…,d,h,w]; asked for one at a time, as one fills a device.
    volume: raw values [Z,H,W,C]; where it is smaller than a patch it is padded with `outside` on both sides.
    window: size, overlap and blending of the patches.

    Returns [Z,…,H,W], float32.
    """
    lacking = [max(side - length, 0) for side, length in zip(window.size, volume.shape, strict=False)]
    around = [(each // 2, each - each // 2) for each in lacking]
    padded = volume
    if any(lacking):
        padded = np.pad(volume.astype(np.float32), [*around, (0, 0)], constant_values=outside)
    weights = _importance(window.size, gaussian=window.blending == "gaussian")
    shares = np.zeros(padded.shape[:3], np.float32)
    total: FloatArray | None = None
    for place in product(*map(_starts, padded.shape, window.size, [window.overlap] * 3)):
        z, y, x = (slice(start, start + side) for start, side in zip(place, window.size, strict=True))
        answer = compute(np.ascontiguousarray(padded[z, y, x][None], dtype=np.float32))[0]  # […,d,h,w]
        if total is None:
            total = np.zeros((*answer.shape[:-3], *shares.shape), np.float32)
        total[..., z, y, x] += answer * weights
        shares[z, y, x] += weights
    if total is None:
        raise ValueError(f"no patch in a volume of shape {volume.shape}")
    total /= shares
    z, y, x = (slice(before, before + length) for (before, _), length in zip(around, volume.shape, strict=False))
    return np.moveaxis(total[..., z, y, x], -3, 0)


def _starts(length: int, side: int, overlap: float) -> list[int]:
    """Where patches begin along an axis: evenly, but for the last, which ends with the volume."""
    step = side if side == length else max(int(side * (1 - overlap)), 1)
    count = 1 + math.ceil(max(length - side, 0) / step)
    return [min(number * step, length - side) for number in range(count)]


def _importance(size: Sequence[int], *, gaussian: bool) -> FloatArray:
    """The weight of each voxel of a patch, [d,h,w]."""
    weights = np.ones((), np.float32)
    for side in size:
        away = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
        along = np.exp(away**2 / np.float32(-2 * (SIGMA * side) ** 2)) if gaussian else np.ones(side, np.float32)
        weights = weights[..., None] * along
    return np.maximum(weights, max(float(weights.min()), LEAST_WEIGHT)).astype(np.float32)
