"""A large image as tiles in the rows of a store, and back: each pixel is kept once, but for the last tile of an axis.

Tiles lie side by side; the last one of an axis ends where the image ends. An image that is smaller than a tile has as
much around it on both sides, as at inference (backends/sliding_window.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import AnyArray
from sdseg.data.transforms import within_type

__all__ = ["TileGrid", "WholeImages"]

Rows = npt.NDArray[np.int64]
Read = Callable[[list[int]], AnyArray]  # numbers of tiles -> [n,S,S,…]


@dataclass(frozen=True)
class TileGrid:
    """Where the tiles of `side`² pixels of one image lie."""

    height: int
    width: int
    side: int

    def __len__(self) -> int:
        return len(self._starts(self.height)) * len(self._starts(self.width))

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Pixels before and after the image, along rows and columns: none where it is as large as a tile."""
        return self._around(self.height), self._around(self.width)

    def cut(self, image: AnyArray, outside: float = 0) -> AnyArray:
        """The tiles [n,S,S,…] of an image [H,W,…], the first row of them first; `outside` is what lies around it."""
        around = (*self.padding, *((0, 0),) * (image.ndim - 2))
        padded = np.pad(image, around, constant_values=within_type(outside, image.dtype))
        return np.stack([padded[top : top + self.side, left : left + self.side] for top, left in self._corners()])

    def whole(self, read: Read) -> AnyArray:
        """The image [H,W,…] that the tiles are of, which `read` gives."""
        return self._region(read, self.padding[0][0], self.padding[1][0], self.height, self.width)

    def patch(self, read: Read, tile: int, moved: tuple[float, float]) -> AnyArray:
        """[S,S,…] at a tile's place, `moved` along rows and columns by a share of a tile, as far as the image goes."""
        start, lengths = self._corners()[tile], (self.height, self.width)
        top, left = (
            min(max(0, first + round(share * self.side)), max(length, self.side) - self.side)
            for first, share, length in zip(start, moved, lengths, strict=True)
        )
        return self._region(read, top, left, self.side, self.side)

    def _region(self, read: Read, top: int, left: int, height: int, width: int) -> AnyArray:
        """Part of the padded image, put together from the tiles that it touches."""
        side, corners = self.side, self._corners()
        touched = [
            number
            for number, (row, column) in enumerate(corners)
            if top - side < row < top + height and left - side < column < left + width
        ]
        region: AnyArray | None = None
        for number in touched:  # one at a time: a whole image and all its tiles are not held together
            (tile,) = read([number])
            if region is None:
                region = np.empty((height, width, *tile.shape[2:]), dtype=tile.dtype)
            row, column = corners[number][0] - top, corners[number][1] - left
            region[max(0, row) : row + side, max(0, column) : column + side] = tile[
                max(0, -row) : height - row, max(0, -column) : width - column
            ]
        if region is None:
            raise ValueError(f"no tile at {top}, {left}")
        return region

    def _corners(self) -> list[tuple[int, int]]:
        """First row and column of each tile in the padded image."""
        return [(top, left) for top in self._starts(self.height) for left in self._starts(self.width)]

    def _starts(self, length: int) -> list[int]:
        side = self.side
        return [min(start, length - side) for start in range(0, length, side)] if length > side else [0]

    def _around(self, length: int) -> tuple[int, int]:
        lacking = max(0, self.side - length)
        return lacking // 2, lacking - lacking // 2


class WholeImages:
    """Stands in for the arrays of a store of tiles: a row is the whole image of a case, at its own size.

    `apart`: how many tiles lie between one tile of a case and the next, where those of several annotators take turns.
    """

    def __init__(self, tiles: Any, grids: Sequence[TileGrid], apart: int = 1) -> None:
        """`tiles` is whatever gives [n,S,S,…] for a list of rows."""
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
