"""Volumes as a store and a model have them: raw values, or values normalised by the statistics of the volume.

The one place where a volume is normalised: preparation and prediction call the same function, so that a model is fed
what it was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdseg.artifacts.image_contract import ImageContract
from sdseg.config.normalisation import ChannelNormalisation, ChannelWindow, MinMax, ZScore
from sdseg.core.array_types import AnyArray, FloatArray
from sdseg.core.errors import UserError
from sdseg.io.volumes import to_stored

__all__ = ["CaseScale", "normalised", "scale_of", "to_contract"]


@dataclass(frozen=True)
class CaseScale:
    """The two numbers of a volume: a raw value v becomes (v - offset) / scale. Both are single precision."""

    offset: float
    scale: float


def to_contract(raw: AnyArray, image: ImageContract, path: Path | None, channel: int = 0) -> tuple[AnyArray, list[str]]:
    """Checked voxels of a whole volume, of any shape, as `image` wants them before they are resized; what was lost.

    Of several channels the voxels are those of one, by its number. Raises UserError for a volume without contrast where
    it is to be normalised, and what `io.volumes.to_stored` does.
    """
    if image.normalisations:
        how = image.normalisations[channel]
        return normalised(raw, _from_0_to_1(scale_of(raw, how, path), how.window), image.window), []
    if image.normalisation is None:
        return to_stored(raw, image, path)
    return normalised(raw, scale_of(raw, image.normalisation, path), image.window), []


def _from_0_to_1(scale: CaseScale, window: tuple[float, float]) -> CaseScale:
    """The numbers that bring a channel's own window to 0 and 1."""
    low, high = window
    return _single(scale.offset + low * scale.scale, (high - low) * scale.scale)


def scale_of(raw: AnyArray, how: ChannelNormalisation, path: Path | None = None) -> CaseScale:
    """Statistics over all voxels of a volume, of whatever order or shape, none left out.

    Raises UserError for a volume of which they are constant: nothing can be seen in it.
    """
    if isinstance(how, ChannelWindow):  # the values are their own
        return CaseScale(0.0, 1.0)
    values = raw[raw != 0] if not isinstance(how, MinMax) and how.nonzero else raw
    if not values.size:
        raise _constant("no voxel but 0", path)
    if isinstance(how, ZScore):
        offset, spread = float(np.mean(values, dtype=np.float64)), float(np.std(values, dtype=np.float64))
        what = f"a standard deviation of 0 (every value is {offset:g})"
    elif isinstance(how, MinMax):
        offset, spread = float(values.min()), float(values.max()) - float(values.min())
        what = f"one value in all voxels ({offset:g})"
    else:
        offset, high = (float(value) for value in np.percentile(values, (how.low, how.high)))
        spread = high - offset
        what = f"percentiles {how.low:g} and {how.high:g} of the voxels that are both {offset:g}"
    scale = _single(offset, spread)
    if not scale.scale > 0:
        raise _constant(what, path)
    return scale


def normalised(raw: AnyArray, scale: CaseScale, window: tuple[float, float]) -> FloatArray:
    """Raw values of any shape and type -> float32 within `window`, those outside clipped."""
    values = raw.astype(np.float32)
    values -= np.float32(scale.offset)
    values /= np.float32(scale.scale)
    return np.asarray(np.clip(values, np.float32(window[0]), np.float32(window[1]), out=values))


def _single(offset: float, scale: float) -> CaseScale:
    return CaseScale(float(np.float32(offset)), float(np.float32(scale)))


def _constant(what: str, path: Path | None) -> UserError:
    return UserError(
        f"an empty volume: {what}, so it cannot be normalised",
        where=path,
        remedy="export it again or leave it out; of volumes that are mostly background 'normalisation' can take the "
        "statistics of other voxels ('nonzero: true') or other percentiles",
    )
