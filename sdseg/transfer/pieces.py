"""An archive cut into pieces, read as the one file it was, without writing that file."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["Pieces"]


class Pieces(io.RawIOBase):
    """Files one behind the other as one readable and seekable stream."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._ends = tuple(accumulate(path.stat().st_size for path in paths))
        self._position = 0
        self._open: tuple[int, BinaryIO] | None = None  # the piece read last

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._ends[-1]}[whence]
        if base + offset < 0:
            raise OSError(22, "negative seek position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill from the piece the position lies in; less than asked for at its end, 0 at the end of all."""
        index = bisect_right(self._ends, self._position)
        if index == len(self._paths):
            return 0
        stream = self._piece(index)
        stream.seek(self._position - (self._ends[index - 1] if index else 0))
        view = memoryview(buffer)[: self._ends[index] - self._position]
        data = stream.read(len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None
        super().close()

    def _piece(self, index: int) -> BinaryIO:
        if self._open is None or self._open[0] != index:
            if self._open is not None:
                self._open[1].close()
            self._open = (index, self._paths[index].open("rb"))
        return self._open[1]
