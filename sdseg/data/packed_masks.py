"""Label maps on disk: each one deflated by itself, so that reading a row inflates that row alone.

Label maps are large areas of one value: deflated they take about a hundredth of their pixels. `masks.npy` holds the
streams one after the other, `mask_ends.npy` where each ends.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import AnyArray, LabelArray
from sdseg.core.errors import UserError

__all__ = ["ANNOTATOR_FILES", "MASK_FILES", "PackedLabels", "pack", "write_packed"]

Rows = int | np.integer[Any] | slice | Sequence[int] | npt.NDArray[np.integer[Any]]
MASK_FILES = ("masks.npy", "mask_ends.npy")
ANNOTATOR_FILES = ("annotator_masks.npy", "annotator_mask_ends.npy")  # A maps for each row, in a store of A annotators


class PackedLabels:
    """Label maps [N,H,W] uint8, read-only; indexing with a number, a slice or a list of numbers inflates those rows."""

    dtype = np.dtype(np.uint8)

    def __init__(self, streams: AnyArray, ends: AnyArray, sides: tuple[int, int], path: Path) -> None:
        """Take the content of the two files, uint8 [B] and int64 [N]; `path` is for messages."""
        self._streams, self._ends, self._path = streams, ends, path
        self.shape = (len(ends), *sides)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(
        self, rows: int | np.integer[Any] | slice | Sequence[int] | npt.NDArray[np.integer[Any]]
    ) -> LabelArray:
        """[H,W] of one row, or [n,H,W] of several. Raises UserError for a damaged file."""
        if isinstance(rows, int | np.integer):
            return self._inflate(range(len(self))[rows])
        numbers = range(len(self))[rows] if isinstance(rows, slice) else [range(len(self))[row] for row in rows]
        masks = np.empty((len(numbers), *self.shape[1:]), dtype=np.uint8)
        for place, number in enumerate(numbers):
            masks[place] = self._inflate(number)
        return masks

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> AnyArray:
        return np.asarray(self[:], dtype=dtype)

    def _inflate(self, row: int) -> LabelArray:
        start = int(self._ends[row - 1]) if row else 0
        try:
            data = zlib.decompress(self._streams[start : int(self._ends[row])].tobytes())
            return np.frombuffer(data, dtype=np.uint8).reshape(self.shape[1:])
        except (zlib.error, ValueError) as error:
            raise UserError(
                f"row {row} is damaged: {error}", where=self._path, remedy="prepare the dataset again (sdseg prepare)"
            ) from None


def pack(labels: LabelArray) -> list[bytes]:
    """Label maps [N,H,W], each deflated; the same bytes on every machine."""
    return [zlib.compress(label.tobytes(), 1) for label in labels]


def write_packed(folder: Path, streams: Iterable[bytes], names: tuple[str, str] = MASK_FILES) -> None:
    """Write `masks.npy` and `mask_ends.npy` (or `names`) from what `pack` gave, row after row."""
    rows = list(streams)
    np.save(folder / names[0], np.frombuffer(b"".join(rows), dtype=np.uint8))
    np.save(folder / names[1], np.cumsum([len(row) for row in rows], dtype=np.int64))
