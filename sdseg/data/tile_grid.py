"""A large image as tiles in the rows of a store, and back: each pixel is kept once, but for the last tile of an axis.

Tiles lie side by side; the last one of an axis ends where the image ends. An image that is smaller than a tile has as
much around it on both sides, as at inference (backends/sliding_window.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import AnyArray
from sdseg.data.transforms import within_type

__all__ = ["TileGrid", "WholeImages"]

Rows = npt.NDArray[np.int64]
Read = Callable[[list[int]], AnyArray]  # numbers of tiles -> [n,h,w,…]


@dataclass(frozen=True)
class TileGrid:
    """Where the tiles of one image lie."""

    height: int
    width: int
    tile: tuple[int, int]  # rows and columns of a tile

    def __len__(self) -> int:
        return prod(len(starts) for starts in self._starts())

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Pixels before and after the image, along rows and columns: none where it is as large as a tile."""
        above, left = (max(0, side - length) for side, length in zip(self.tile, self._lengths, strict=True))
        return (above // 2, above - above // 2), (left // 2, left - left // 2)

    def cut(self, image: AnyArray, outside: float = 0) -> AnyArray:
        """The tiles [n,h,w,…] of an image [H,W,…], the first row of them first; `outside` is what lies around it."""
        around = (*self.padding, *((0, 0),) * (image.ndim - 2))
        padded = np.pad(image, around, constant_values=within_type(outside, image.dtype))
        rows, columns = self.tile
        return np.stack([padded[top : top + rows, left : left + columns] for top, left in self._corners()])

    def whole(self, read: Read) -> AnyArray:
        """The image [H,W,…] that the tiles are of, which `read` gives."""
        return self._region(read, self.padding[0][0], self.padding[1][0], self.height, self.width)

    def patch(self, read: Read, tile: int, moved: tuple[float, float]) -> AnyArray:
        """[h,w,…] at a tile's place, `moved` along rows and columns by a share of a tile, as far as the image goes."""
        top, left = (
            min(max(0, first + round(share * side)), max(length, side) - side)
            for first, share, side, length in zip(self._corners()[tile], moved, self.tile, self._lengths, strict=True)
        )
        return self._region(read, top, left, *self.tile)

    def _region(self, read: Read, top: int, left: int, height: int, width: int) -> AnyArray:
        """Part of the padded image, put together from the tiles that it touches."""
        (rows, columns), corners = self.tile, self._corners()
        touched = [
            number
            for number, (row, column) in enumerate(corners)
            if top - rows < row < top + height and left - columns < column < left + width
        ]
        region: AnyArray | None = None
        for number in touched:  # one at a time: a whole image and all its tiles are not held together
            (tile,) = read([number])
            if region is None:
                region = np.empty((height, width, *tile.shape[2:]), dtype=tile.dtype)
            row, column = corners[number][0] - top, corners[number][1] - left
            region[max(0, row) : row + rows, max(0, column) : column + columns] = tile[
                max(0, -row) : height - row, max(0, -column) : width - column
            ]
        if region is None:
            raise ValueError(f"no tile at {top}, {left}")
        return region

    @property
    def _lengths(self) -> tuple[int, int]:
        return self.height, self.width

    def _corners(self) -> list[tuple[int, int]]:
        """First row and column of each tile in the padded image."""
        rows, columns = self._starts()
        return [(top, left) for top in rows for left in columns]

    def _starts(self) -> tuple[list[int], list[int]]:
        """Where tiles begin along rows and along columns."""
        down, right = (
            [min(start, length - side) for start in range(0, length, side)] if length > side else [0]
            for side, length in zip(self.tile, self._lengths, strict=True)
        )
        return down, right


class WholeImages:
    """Stands in for the arrays of a store of tiles: a row is the whole image of a case, at its own size.

    `apart`: how many tiles lie between one tile of a case and the next, where those of several annotators take turns.
    """

    def __init__(self, tiles: Any, grids: Sequence[TileGrid], apart: int = 1) -> None:
        """`tiles` is whatever gives [n,h,w,…] for a list of rows."""
        self._tiles, self._grids, self._apart = tiles, tuple(grids), apart
        self._first = np.cumsum([0, *(len(grid) for grid in self._grids)])

    def __len__(self) -> int:
        return len(self._grids) * self._apart

    def __getitem__(self, rows: Any) -> AnyArray:
        """One row [H,W,…], or several of a slice or an array of rows, which must be as large as each other."""
        chosen = np.arange(len(self))[rows]
        return self._whole(int(chosen)) if chosen.ndim == 0 else np.stack([self._whole(int(row)) for row in chosen])

    def _whole(self, row: int) -> AnyArray:
        case, turn = divmod(row, self._apart)
        first = int(self._first[case]) * self._apart + turn
        return self._grids[case].whole(lambda numbers: self._tiles[[first + each * self._apart for each in numbers]])
