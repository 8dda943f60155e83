"""How large an input may be, asked of its header before anything is allocated for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdseg.core.errors import UserError

__all__ = ["LIMITS", "Limits", "asked_limits", "available_memory", "check_memory"]

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
COPIES = 2  # of what was decoded: an image or volume is converted once before it is cut


@dataclass(frozen=True)
class Limits:
    """The largest image and the largest volume that are read; a header may promise more than any memory holds."""

    pixels: int = 1 << 28  # of an image: 16384 × 16384
    voxels: int = 1 << 30  # of a volume or DICOM series: 1024 × 1024 × 1024

    def at_least(self, count: int) -> Limits:
        """These, or such that `count` pixels or voxels, a number that was allowed before, are within them."""
        return Limits(max(self.pixels, count), max(self.voxels, count))

    def check_image(self, width: int, height: int, path: Path, bytes_each: int = 3) -> None:
        """Raise UserError for an image of more pixels than allowed, or more than the free memory holds."""
        self._check(f"{width}×{height} pixels", width * height, self.pixels, "pixels", path)
        check_memory(width * height * bytes_each * COPIES, path)

    def check_volume(self, shape: Sequence[int], path: Path, bytes_each: int = 2) -> None:
        """Raise UserError for a volume of more voxels than allowed, or more than the free memory holds."""
        voxels = math.prod(shape)
        self._check(f"{'×'.join(map(str, shape))} voxels", voxels, self.voxels, "voxels", path)
        check_memory(voxels * bytes_each * COPIES, path)

    @staticmethod
    def _check(size: str, count: int, most: int, unit: str, path: Path) -> None:
        if count > most:
            raise UserError(
                f"{size} by its header, {count:,} in all; at most {most:,} are read",
                where=path,
                remedy="check that the header is right; reduce or cut it; or allow more: "
                f"--max-{unit} of 'predict', 'max_{unit}' of a dataset that is prepared",
            )


LIMITS = Limits()


def asked_limits(pixels: int | None, voxels: int | None) -> Limits:
    """Limits a user asked for, None for the usual ones. Raises UserError for less than 1."""
    for name, count in (("pixels", pixels), ("voxels", voxels)):
        if count is not None and count < 1:
            raise UserError(f"at most {count} {name}", where=f"max_{name}", remedy="give 1 or more")
    return Limits(pixels or LIMITS.pixels, voxels or LIMITS.voxels)


def check_memory(needed: int, path: Path) -> None:
    """Raise UserError where `needed` bytes are more than this process can still have."""
    free = available_memory()
    if free is not None and needed > free:
        raise UserError(
            f"reading it takes about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free",
            where=path,
            remedy="check that the file is whole and its header right; reduce or cut it, or use a machine with more",
        )


def available_memory() -> int | None:
    """Bytes of memory that this process can still have; None where it cannot be told."""
    amounts = [free for free in (_of_the_machine(), _of_the_group()) if free is not None]
    return min(amounts, default=None)


def _of_the_machine() -> int | None:
    try:
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _of_the_group() -> int | None:
    """What a container or a cluster's job may still take (control groups, version 2)."""
    try:
        most = (CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((CGROUP / "memory.current").read_text(encoding="ascii"))
        statistics = dict(line.split() for line in (CGROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        return int(most) - used + int(statistics.get("inactive_file", 0))  # the cache of files is given back at once
    except (OSError, ValueError):  # no such groups, or no limit ('max')
        return None
