"""Slices of a native size at the working size and back: resized, or resampled to a spacing and then cut or filled up.

The one place for preparation, evaluation and prediction. Resampling takes the whole slice to whole numbers of pixels,
its border to the border, so that the spacing is met to within half a pixel of its length, and the way back is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdseg.artifacts.image_contract import ImageContract
from sdseg.config.shape import InPlane
from sdseg.core.array_types import AnyArray, FloatArray, RawImages
from sdseg.core.errors import UserError
from sdseg.data.slicing import along_slices
from sdseg.data.transforms import resize_images, resize_labels, restore_probability, within_type

__all__ = ["SliceFit", "fit_of", "resampled_size"]

Sides = tuple[int, int]  # rows, columns
MOST = 16_384  # pixels of a side, once resampled


@dataclass(frozen=True)
class SliceFit:
    """How slices of one native size come to the working size."""

    native: Sides
    resampled: Sides  # the whole slice; where nothing is cut or filled up the working size itself
    working: Sides
    shrunk: float = 1.0  # to this part of the spacing that was asked for

    @property
    def pixel(self) -> tuple[float, float]:
        """Native rows and columns that a working pixel spans."""
        return self.native[0] / self.resampled[0], self.native[1] / self.resampled[1]

    @property
    def cut(self) -> bool:
        """Whether a part of the slice lies outside the working size."""
        return any(whole > seen for whole, seen in zip(self.resampled, self.working, strict=True))

    def images(self, images: RawImages, outside: float) -> RawImages:
        """Raw images [N,H,W,C] at the working size; `outside` is the value around a slice that is smaller."""
        return _moved(resize_images(images, self.resampled), self.resampled, self.working, 1, outside)

    def labels(self, labels: AnyArray) -> AnyArray:
        """Label ids [N,H,W] at the working size: the nearest pixel's, so that no new label can appear."""
        return _moved(resize_labels(labels, self.resampled), self.resampled, self.working, 1, 0)

    def restore(self, probability: FloatArray) -> FloatArray:
        """Probabilities [N,h,w] or [N,K,h,w] back at the native size; 0 where the slice was not seen."""
        whole = _moved(probability, self.working, self.resampled, probability.ndim - 2, 0.0)
        return restore_probability(whole, self.native)


def fit_of(image: ImageContract, native: Sides, spacing: tuple[float, ...]) -> SliceFit:
    """For slices of `native` rows and columns; `spacing` is that of the volume, along the patient's axes.

    Raises UserError for a volume without spacing, or with one that no image can have, where slices are resampled.
    """
    if image.resampling is None:
        working = image.working_size(*native)
        return SliceFit(native, working, working)
    if not spacing:
        raise UserError(
            "a slice without spacing, and this model resamples slices to its own",
            remedy="give the affine too, or the path of the file",
        )
    _, rows, columns = along_slices(spacing, image.slicing)
    resampled = resampled_size(native, (rows, columns), image.resampling.spacing)
    if image.resampling.fit == "shrink":
        part = min(1.0, *(seen / whole for seen, whole in zip(image.sides, resampled, strict=True)))
        height, width = (max(1, round(whole * part)) for whole in resampled)
        return SliceFit(native, (height, width), image.sides, part)
    return SliceFit(native, resampled, image.sides)


def resampled_size(native: Sides, own: tuple[float, float], wanted: InPlane) -> Sides:
    """Rows and columns of a slice at another spacing. Raises UserError for sizes that no image has."""
    rows, columns = (
        max(1, round(count * length / other)) for count, length, other in zip(native, own, wanted, strict=True)
    )
    if max(rows, columns) > MOST:
        raise UserError(
            f"slices of {native[0]} × {native[1]} pixels, {own[0]:g} × {own[1]:g} mm each, would have "
            f"{rows} × {columns} at the spacing of {wanted[0]:g} × {wanted[1]:g} mm",
            remedy="correct the spacing of the file, or choose a longer 'spacing'",
        )
    return rows, columns


def _moved(array: AnyArray, before: Sides, after: Sides, axis: int, outside: float) -> AnyArray:
    """Cut or filled up around the middle, along `axis` (rows) and the next one; the way back is the same, turned."""
    if before == after:
        return array
    shape = list(array.shape)
    shape[axis : axis + 2] = after
    moved = np.full(shape, within_type(outside, array.dtype), dtype=array.dtype)
    source, target = [slice(None)] * array.ndim, [slice(None)] * array.ndim
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        common, off = min(old, new), (max(old, new) - min(old, new)) // 2
        inner, outer = slice(0, common), slice(off, off + common)
        source[axis + number], target[axis + number] = (outer, inner) if old > new else (inner, outer)
    moved[tuple(target)] = array[tuple(source)]
    return moved
