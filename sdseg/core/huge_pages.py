"""The memory of this process in huge pages, as it is: what forks copies fewer entries, and a processor finds it sooner.

After the libraries are loaded: PyTorch's half a gigabyte is 120,000 pages of 4 KB, listed anew for every fork, or 200
of 2 MB and some thousand. The server of a loaded Python, which is without the package, runs this file by itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

__all__ = ["into_huge_pages"]

HUGE = 2**21  # bytes; on every processor that PyTorch is built for with pages of 4 KB
MAPS = "/proc/self/maps"
MADV_COLLAPSE = 25  # of madvise(2), since Linux 6.1: now, whatever the system's setting for pages to come


def into_huge_pages() -> int:
    """Gather what Python and its libraries have written to so far; returns how many bytes lie in huge pages now.

    Nothing changes but where memory lies. 0 where the system does not do it (Linux before 6.1, and others) or does not
    tell where memory lies (no /proc): what follows takes longer, and no more.
    """
    if sys.platform != "linux":
        return 0
    gathered = 0
    with contextlib.suppress(OSError, ValueError, AttributeError):
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int)
        for begin, end in _written():
            for page in range(-(-begin // HUGE) * HUGE, end - HUGE + 1, HUGE):
                gathered += HUGE if madvise(page, HUGE, MADV_COLLAPSE) == 0 else 0
    return gathered


def _written() -> list[tuple[int, int]]:
    """First address and end of memory that is this process's own, and that no file lies in."""
    ranges = []
    with open(MAPS, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            addresses, permissions, _, _, _, *name = line.split(maxsplit=5)
            if permissions == "rw-p" and (not name or name[0].strip() == "[heap]"):
                begin, _, end = addresses.partition("-")
                ranges.append((int(begin, 16), int(end, 16)))
    return ranges


if __name__ == "__main__":
    into_huge_pages()
