"""The grid of a volume file: which way its axes run, how far its voxels lie apart, and the way back to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt2axcodes,
    ornt_transform,
)

from sdseg.core.array_types import AnyArray

__all__ = ["Geometry", "Matrix", "check_same_grid", "fault_of_affine"]

Matrix = tuple[tuple[float, ...], ...]
Value = TypeVar("Value", int, float)

# Affines are stored as float32 and rounded by some writers: corners of two grids may lie this part of a voxel apart.
GRID_TOLERANCE = 0.05
FLAT = 1e-4  # volume of the cell that three directions of length 1 span: 1 where they are at right angles


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of a NIfTI file lie, in the file's own axis order."""

    shape: tuple[int, int, int]  # voxels along the file's axes
    affine: Matrix  # 4×4, voxel index to millimetres in RAS+ patient space
    qform: Matrix  # the file's second transform; it may differ from `affine`
    qform_code: int
    sform_code: int
    units: tuple[str, str] = ("mm", "unknown")

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """The affine as an array, [4,4]."""
        return np.asarray(self.affine, dtype=np.float64)

    @property
    def orientation(self) -> npt.NDArray[np.float64]:
        """Which patient axis each array axis follows, and in which direction, [3,2] as nibabel has it."""
        return np.asarray(io_orientation(self.matrix), dtype=np.float64)

    @property
    def axcodes(self) -> str:
        """Patient directions of the array axes, for example LPS."""
        return "".join(str(code) for code in ornt2axcodes(self.orientation))

    @property
    def canonical_shape(self) -> tuple[int, int, int]:
        """Voxels along the patient's left-right, back-front and foot-head axes."""
        return self._canonical(self.shape)

    @property
    def canonical_matrix(self) -> npt.NDArray[np.float64]:
        """The affine of the array that `to_canonical` gives, [4,4]."""
        return np.asarray(self.matrix @ inv_ornt_aff(self.orientation, self.shape), dtype=np.float64)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between voxels along the patient's left-right, back-front and foot-head axes."""
        x, y, z = (float(length) for length in np.linalg.norm(self.matrix[:3, :3], axis=0))
        return self._canonical((x, y, z))

    def to_canonical(self, array: AnyArray) -> AnyArray:
        """The file's array [i,j,k] in RAS+ order [X,Y,Z]; a view."""
        return np.asarray(apply_orientation(array, self.orientation))

    def to_native(self, array: AnyArray) -> AnyArray:
        """A canonical array [X,Y,Z] in the file's order [i,j,k]; a view."""
        back = ornt_transform(axcodes2ornt(("R", "A", "S")), self.orientation)
        return np.asarray(apply_orientation(array, back))

    def _canonical(self, native: tuple[Value, Value, Value]) -> tuple[Value, Value, Value]:
        axes = [int(axis) for axis in self.orientation[:, 0]]
        x, y, z = (native[axes.index(patient)] for patient in range(3))
        return x, y, z


def fault_of_affine(affine: npt.NDArray[np.float64]) -> str | None:
    """Why an affine [4,4] gives voxels no place of their own, in words, or None where it does."""
    if not np.isfinite(affine).all():
        return "the place, spacing or direction of its voxels is NaN or infinite"
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() == 0:
        return "voxels lie 0 mm apart: a spacing or a direction is zero"
    if abs(float(np.linalg.det(affine[:3, :3] / lengths))) < FLAT:
        return "the affine places all voxels in one plane"
    return None


def check_same_grid(image: Geometry, label: Geometry, names: tuple[str, str] = ("image", "label")) -> str | None:
    """Why a label volume does not lie on its image's grid, in words that call them by `names`, or None where it does.

    Grids are compared in canonical order: a label whose file runs along the same axes the other way fits.
    """
    if image.canonical_shape != label.canonical_shape:
        return f"shape of the {names[0]} {image.shape} and of the {names[1]} {label.shape} differ"
    corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners[:, :3] *= np.array(image.canonical_shape) - 1
    distance = np.abs(corners @ (image.canonical_matrix - label.canonical_matrix).T).max()
    if distance > GRID_TOLERANCE * min(image.spacing):
        return f"affines of {names[0]} and {names[1]} differ: corners lie up to {distance:.3g} mm apart"
    return None
