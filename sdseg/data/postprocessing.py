"""What is mended in the masks of a whole case: small parts dropped, holes filled; by `MaskRule` alone."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from sdseg.core.array_types import MaskArray
from sdseg.core.errors import UserError
from sdseg.data.components import label_components

__all__ = ["CaseMasks", "StackedMasks", "count_components", "fill_holes", "largest_component", "postprocess"]


class CaseMasks(Protocol):
    """The masks of one image or volume, of which one structure at a time is unpacked."""

    def mask(self, number: int) -> MaskArray:
        """Where structure `number` is, [Z,H,W]."""
        ...

    def replace(self, number: int, mask: MaskArray) -> None:
        """Put `mask` [Z,H,W] in its place."""
        ...


class StackedMasks:
    """Masks [Z,K,H,W] of one case in one array, which `replace` changes."""

    def __init__(self, masks: MaskArray) -> None:
        if masks.dtype != np.bool_:
            raise UserError(
                f"post-processing was asked of values of type {masks.dtype}: it changes masks, never probabilities",
                where="inference.postprocessing",
                remedy="make masks of the probabilities first (MaskRule.masks)",
            )
        self.array = masks

    def mask(self, number: int) -> MaskArray:
        return self.array[:, number]

    def replace(self, number: int, mask: MaskArray) -> None:
        self.array[:, number] = mask


def postprocess(masks: CaseMasks, structures: int, *, largest: bool, holes: bool, exclusive: bool) -> None:
    """Keep the largest component of every structure, then fill its holes, as asked.

    Structures that exclude each other stay apart: a hole is filled only where no structure is; what several enclose
    is the first one's.
    """
    if largest:
        for number in range(structures):
            masks.replace(number, largest_component(masks.mask(number)))
    if not holes:
        return
    occupied: MaskArray | None = None
    if exclusive and structures > 1:
        occupied = masks.mask(0).copy()
        for number in range(1, structures):
            occupied |= masks.mask(number)
    for number in range(structures):
        own = masks.mask(number)
        filled = fill_holes(own)
        if occupied is not None:
            filled &= own | ~occupied
            occupied |= filled
        masks.replace(number, filled)


def count_components(mask: MaskArray) -> int:
    """Connected parts of `mask` [Z,H,W], neighbours over corners included."""
    box = _box(mask)
    return 0 if box is None else label_components(mask[box], corners=True)[1]


def largest_component(mask: MaskArray) -> MaskArray:
    """The largest connected part of `mask` [Z,H,W], neighbours over corners included; of equal ones the first.

    In two dimensions of an image (Z = 1), in three of a volume.
    """
    box = _box(mask)
    if box is None:
        return mask
    numbers, count = label_components(mask[box], corners=True)
    if count == 1:
        return mask
    sizes = np.bincount(numbers.ravel())[1:]
    of_that_size = np.isin(numbers, 1 + np.flatnonzero(sizes == sizes.max()))
    largest = np.zeros_like(mask)
    largest[box] = numbers == numbers.ravel()[of_that_size.argmax()]
    return largest


def fill_holes(mask: MaskArray) -> MaskArray:
    """`mask` [Z,H,W] with what it encloses: background from which no way over edges of pixels leads outside.

    In two dimensions of an image (Z = 1); in a volume a hole is closed in all three.
    """
    box = _box(mask)
    if box is None:
        return mask
    across = 0 if len(mask) == 1 else 1
    around = np.pad(~mask[box], ((across, across), (1, 1), (1, 1)), constant_values=True)
    numbers, _ = label_components(around, corners=False)
    filled = mask.copy()
    filled[box] = (numbers != numbers[0, 0, 0])[across : len(numbers) - across, 1:-1, 1:-1]
    return filled


def _box(mask: MaskArray) -> tuple[slice, ...] | None:
    """The smallest box around a mask, None where it is empty: nothing else has to be looked at."""
    box = []
    for axis in range(mask.ndim):
        rows = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not len(rows):
            return None
        box.append(slice(int(rows[0]), int(rows[-1]) + 1))
    return tuple(box)
