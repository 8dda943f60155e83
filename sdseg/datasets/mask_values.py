"""What the values of a mask file mean: grey levels to label ids."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdseg.core.errors import UserError

if TYPE_CHECKING:  # a plan reads what the values mean, and must do without the arrays
    import numpy as np
    import numpy.typing as npt

__all__ = ["WHITE_ON_BLACK", "ExactValues", "MaskCoding"]

MANY = 4  # so many values in a row are numbers of objects rather than labels that were forgotten


@dataclass(frozen=True)
class ExactValues:
    """A mask or label volume in which each value means one label, and no other value may occur."""

    values: tuple[tuple[int, int], ...]  # value in the file, label id
    ranges: tuple[tuple[int, int, int], ...] = ()  # first and last value, label id; `values` come before these

    @property
    def deep(self) -> bool:
        """Whether values are numbers of up to 16 bits, and not shades of grey."""
        return bool(self.ranges) or any(value > 255 for value, _ in self.values)

    def decode(self, grey: npt.NDArray[Any], path: Path) -> npt.NDArray[np.uint8]:
        """Label ids of an array of any shape, same shape. Raises UserError for a value that was not declared."""
        import numpy as np

        length = 65_536 if grey.dtype == np.uint16 else 256
        table, declared = np.zeros(length, dtype=np.uint8), np.zeros(length, dtype=np.bool_)
        for first, last, label in (*self.ranges, *((value, value, label) for value, label in self.values)):
            table[first : last + 1], declared[first : last + 1] = label, True
        labels = np.empty_like(grey, dtype=np.uint8)
        pixel_counts = np.zeros(length, dtype=np.int64)
        for plane, target in zip(grey, labels, strict=True):  # a whole volume at once would take eight times its size
            pixel_counts += np.bincount(plane.ravel(), minlength=length)
            target[...] = table[plane]
        foreign = np.flatnonzero((pixel_counts > 0) & ~declared).tolist()
        if foreign:
            raise self._undeclared(foreign, path)
        return labels

    def _undeclared(self, foreign: list[int], path: Path) -> UserError:
        listed = ", ".join(map(str, foreign[:8])) + (", …" if len(foreign) > 8 else "")
        declared = [*(str(value) for value, _ in self.values), *(f"{first}-{last}" for first, last, _ in self.ranges)]
        objects = len(foreign) >= MANY and foreign == list(range(foreign[0], foreign[0] + len(foreign)))
        return UserError(
            f"mask values {listed} are not declared; declared are {', '.join(declared)}",
            where=path,
            remedy="these are numbers of objects, it seems: 'mask_values: {nonzero: 1}' takes every value above 0 for "
            "label 1, and '1-40' in its place those of a range"
            if objects
            else "name them in 'labels' where each is a structure of its own, or give each a label in 'mask_values' "
            "(single values, ranges as '1-40', or nonzero for every other one above 0); or set 'lossy_masks: true' "
            "where masks are JPEG or were resized",
        )


@dataclass(frozen=True)
class MaskCoding:
    """What the grey levels of a mask image mean.

    A pixel takes the id of its nearest level, with the limits between the levels stated. Pixels far from every level
    are the soft edge of a compressed or resized mask; more than `soft` of them (a share of the image) mean that the
    file is no mask.
    """

    levels: tuple[int, ...]  # ascending
    ids: tuple[int, ...]  # label id of each level
    limits: tuple[int, ...]  # the largest grey value of each level but the last
    soft: float = 0.05
    deep = False  # levels are shades of 8 bits

    def decode(self, grey: npt.NDArray[Any], path: Path) -> npt.NDArray[np.uint8]:
        """Label ids of a mask's grey levels, same shape. Raises UserError where the file is no such mask."""
        import numpy as np

        pixel_counts = np.bincount(grey.ravel(), minlength=256)
        names = ", ".join(str(level) for level in self.levels)
        if 0 < int(grey.max(initial=0)) < 4:
            raise UserError(
                f"mask values {np.flatnonzero(pixel_counts).tolist()} look like label numbers, not grey levels {names}",
                where=path,
                remedy="give the mask as its owner ships it",
            )
        far = np.abs(np.arange(256)[:, None] - np.array(self.levels)).min(axis=1) > self._tolerance
        share = pixel_counts[far].sum() / max(1, grey.size)
        if share > self.soft:
            unexpected = np.flatnonzero(far & (pixel_counts > 0))
            raise UserError(
                f"{share:.1%} of the mask's pixels are far from the grey levels {names} "
                f"(for example {', '.join(str(value) for value in unexpected[:5])})",
                where=path,
                remedy="check that this is the mask and not an image",
            )
        table = np.array(self.ids, dtype=np.uint8)[np.searchsorted(self.limits, np.arange(256))]
        return np.asarray(table[grey], dtype=np.uint8)

    @property
    def _tolerance(self) -> int:
        """How far a grey value may lie from a level: 40 % of the way to the next, which JPEG rarely exceeds."""
        return int(0.4 * min(high - low for low, high in pairwise(self.levels)) / 2)


WHITE_ON_BLACK = MaskCoding(levels=(0, 255), ids=(0, 1), limits=(127,))
