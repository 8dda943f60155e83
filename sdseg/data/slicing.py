"""Volumes to slices in a plane of the patient and back, and what is counted or measured along them.

Slices are shown as radiologists see them. Axial and coronal ones have the patient's right at column 0, sagittal ones
the front; row 0 is the front of an axial slice and the head of the others. Slice 0 is the lowest, the hindmost, or that
furthest to the left. Only axes change places and directions: every voxel keeps its value, and the way back is exact.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar, overload

from sdseg.config.shape import Plane
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError

__all__ = ["AXES", "along_slices", "check_slices", "from_slices", "to_slices"]

Value = TypeVar("Value", int, float)
# Of canonical axes X, Y, Z: that across the slices, that down the rows, that along a row; the last two run backwards.
AXES: dict[Plane, tuple[int, int, int]] = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}


def to_slices(volume: AnyArray, plane: Plane) -> AnyArray:
    """Slices [N,rows,columns,…] of a canonical volume [X,Y,Z,…]; a view."""
    return volume.transpose(*AXES[plane], *range(3, volume.ndim))[:, ::-1, ::-1]


def from_slices(slices: AnyArray, plane: Plane) -> AnyArray:
    """The canonical volume [X,Y,Z,…] of slices [N,rows,columns,…]; a view, the exact inverse of `to_slices`."""
    axes = AXES[plane]
    return slices[:, ::-1, ::-1].transpose(*(axes.index(axis) for axis in range(3)), *range(3, slices.ndim))


@overload
def along_slices(of_axes: tuple[Value, Value, Value], plane: Plane) -> tuple[Value, Value, Value]: ...
@overload
def along_slices(of_axes: tuple[Value, ...], plane: Plane) -> tuple[Value, ...]: ...
def along_slices(of_axes: tuple[Value, ...], plane: Plane) -> tuple[Value, ...]:
    """What belongs to the patient's x, y and z, across the slices, down the rows and along a row; empty stays empty."""
    return tuple(of_axes[axis] for axis in AXES[plane]) if of_axes else ()


def check_slices(shape: tuple[int, int, int], plane: Plane, path: Path | None) -> tuple[int, int, int]:
    """Slices, rows and columns of a volume of canonical `shape`.

    Raises UserError where each slice would be a line: of a volume that is flat in another direction.
    """
    count, rows, columns = along_slices(shape, plane)
    if plane != "axial" and min(rows, columns) == 1 < count:
        raise UserError(
            f"{plane} slices of it would have {rows} × {columns} pixels: along the patient's axes (left-right, "
            f"back-front, foot-head) it has {' × '.join(map(str, shape))} voxels",
            where=path,
            remedy="give volumes with several rows and columns in this plane, or choose another 'slicing'",
        )
    return count, rows, columns
