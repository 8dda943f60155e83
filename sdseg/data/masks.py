"""What the values of a mask file mean: grey levels to label ids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdseg.errors import UserError

__all__ = ["WHITE_ON_BLACK", "MaskCoding"]


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

    def decode(self, grey: npt.NDArray[np.uint8], path: Path) -> npt.NDArray[np.uint8]:
        """Label ids of a mask's grey levels, same shape. Raises UserError where the file is no such mask."""
        counted = np.bincount(grey.ravel(), minlength=256)
        names = ", ".join(str(level) for level in self.levels)
        if 0 < int(grey.max(initial=0)) < 4:
            raise UserError(
                f"mask values {np.flatnonzero(counted).tolist()} look like label numbers, not grey levels {names}",
                where=path,
                remedy="give the mask as its owner ships it",
            )
        far = np.abs(np.arange(256)[:, None] - np.array(self.levels)).min(axis=1) > self._tolerance
        share = counted[far].sum() / max(1, grey.size)
        if share > self.soft:
            unexpected = np.flatnonzero(far & (counted > 0))
            raise UserError(
                f"{share:.1%} of the mask's pixels are far from the grey levels {names} "
                f"(for example {', '.join(str(value) for value in unexpected[:5])})",
                where=path,
                remedy="check that this is the mask and not an image",
            )
        table = np.array(self.ids, dtype=np.uint8)[np.searchsorted(self.limits, np.arange(256))]
        return table[grey]

    @property
    def _tolerance(self) -> int:
        """How far a grey value may lie from a level: 40 % of the way to the next, which JPEG rarely exceeds."""
        return int(0.4 * min(np.diff(self.levels)) / 2)


WHITE_ON_BLACK = MaskCoding(levels=(0, 255), ids=(0, 1), limits=(127,))
