"""In which plane the volumes of a dataset are cut: as the configuration says, or as their voxels lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sdseg.config.shape import Plane, Slicing
from sdseg.io.geometry import Geometry

__all__ = ["choose_plane"]

# Of canonical axes x, y, z: the plane that lies across each, and where it runs.
ACROSS: tuple[tuple[Plane, str], ...] = (
    ("sagittal", "from left to right"),
    ("coronal", "from back to front"),
    ("axial", "from foot to head"),
)
ALIKE = 1.05  # times: distances that differ by less are taken for equal, and axial slices for the usual ones


def choose_plane(slicing: Slicing, training: Sequence[Geometry]) -> tuple[Plane, str]:
    """The plane, and why in words: as `slicing` says, or across the axis with the longest voxels, by their median."""
    if slicing != "coarsest":
        return slicing, ""
    if not training:
        return "axial", ""  # no header could be read, which forbids the dataset anyway
    lengths = np.median([geometry.spacing for geometry in training], axis=0)
    axis = 2 if lengths[2] * ALIKE >= lengths.max() else int(lengths.argmax())
    plane, direction = ACROSS[axis]
    in_words = " × ".join(f"{length:.3g}" for length in lengths)
    other = sum(_coarser_elsewhere(geometry, axis) for geometry in training)
    unlike = f"; of {other} of these volumes another axis is the coarsest" if other else ""
    return plane, (
        f"slices are {plane}: voxels are longest {direction} (median of {len(training)} training volumes: "
        f"{in_words} mm, left-right, back-front, foot-head){unlike}"
    )


def _coarser_elsewhere(geometry: Geometry, axis: int) -> bool:
    return max(geometry.spacing) > ALIKE * geometry.spacing[axis]
