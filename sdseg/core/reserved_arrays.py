"""Arrays on disk whose space is taken before they are filled: a disk without room is an error at once, not a crash."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap

__all__ = ["reserve_array"]


def reserve_array(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> int:
    """Write an .npy file of zeros that holds all its space; gives where its first row begins, in bytes.

    Without the reservation the file is sparse: where the disk fills up later, whoever writes through a memory map is
    killed by SIGBUS. Raises OSError where there is no room.
    """
    offset = int(open_memmap(path, mode="w+", dtype=dtype, shape=shape).offset)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, offset + np.dtype(dtype).itemsize * math.prod(shape))
    return offset
