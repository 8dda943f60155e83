"""Patches of large images for training: a tile of the store, moved at random within its image."""

from __future__ import annotations

import numpy as np

from sdseg.core.array_types import AnyArray, LabelArray
from sdseg.data.store import SliceStore

__all__ = ["STILL", "MovingTiles", "Shift", "draw_shift"]

Shift = tuple[float, float]  # along rows and columns, in sides of a tile
STILL: Shift = (0.0, 0.0)


class MovingTiles:
    """Images and labels of a store of tiles, wherever a tile is moved to; it stays within the image."""

    def __init__(self, store: SliceStore) -> None:
        self._store = store
        self._grids = [store.grid_of(case) for case in store.cases]
        self._starts = np.array([case.start for case in store.cases], dtype=np.int64)

    def image(self, row: int, shift: Shift) -> AnyArray:
        """[h,w,C] at the place of the tile in a row, moved."""
        case = self._case_of(row)
        first = int(self._starts[case])
        return self._grids[case].patch(
            lambda numbers: self._store.images[[first + each for each in numbers]], row - first, shift
        )

    def labels(self, annotator: str, row: int, shift: Shift) -> LabelArray:
        """Label ids [h,w] of one annotator at the same place."""
        case = self._case_of(row)
        first = int(self._starts[case])
        return self._grids[case].patch(
            lambda numbers: self._store.drawn_by(annotator, [first + each for each in numbers]), row - first, shift
        )

    def _case_of(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1


def draw_shift(rng: np.random.Generator) -> Shift:
    """Up to half a tile in each direction, so that patches lie anywhere."""
    rows, columns = rng.random(2) - 0.5
    return float(rows), float(columns)
