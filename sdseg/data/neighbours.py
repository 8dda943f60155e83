"""Slices with those above and below them as further channels: the 2.5-D condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import AnyArray, RawImages

__all__ = ["NeighbouringSlices", "with_neighbours"]

Rows = npt.NDArray[np.int64]


class NeighbouringSlices:
    """Stands in for a store's `images` [N,H,W,C]: a row has 2k+1 slices of its case, from k before it to k after it.

    Their channels lie one slice after the other, [N,H,W,(2k+1)·C]; beyond the ends of the case its last slice is
    repeated.
    """

    def __init__(self, slices: RawImages, rows_of_cases: Sequence[slice], count: int) -> None:
        """`count`: k. `slices` may be whatever gives [n,H,W,C] for an array of n rows."""
        self.slices, self.count, self._cases = slices, count, tuple(rows_of_cases)
        lengths = [rows.stop - rows.start for rows in self._cases]
        self._first = np.repeat([rows.start for rows in self._cases], lengths)
        self._last = np.repeat([rows.stop - 1 for rows in self._cases], lengths)

    def of(self, slices: RawImages) -> NeighbouringSlices:
        """The same of other slices in the same rows."""
        return NeighbouringSlices(slices, self._cases, self.count)

    def __len__(self) -> int:
        return len(self._first)

    def __getitem__(self, rows: Any) -> RawImages:
        """One row [H,W,(2k+1)·C], or several of a slice or an array of rows."""
        chosen = np.arange(len(self))[rows]
        return _stacked(self.slices, chosen, self._first[chosen], self._last[chosen], self.count)


def with_neighbours(slices: RawImages, index: int, count: int) -> RawImages:
    """Slice `index` of a whole volume [Z,H,W,C] with `count` on each side, [H,W,(2·count+1)·C]; as it is for 0."""
    chosen = np.asarray(index)
    last = np.asarray(len(slices) - 1)
    return _stacked(slices, chosen, np.zeros_like(chosen), last, count) if count else np.asarray(slices[index])


def _stacked(slices: RawImages, rows: Rows, first: Rows, last: Rows, count: int) -> RawImages:
    around = rows[..., None] + np.arange(-count, count + 1)  # [...,2k+1]
    around = np.clip(around, first[..., None], last[..., None])
    taken: AnyArray = np.asarray(slices[around.ravel()])  # [m,H,W,C]
    height, width, channels = taken.shape[1:]
    beside = np.moveaxis(taken.reshape(*around.shape, height, width, channels), -4, -2)  # [...,H,W,2k+1,C]
    return beside.reshape(*rows.shape, height, width, around.shape[-1] * channels)
