"""Distances between the surfaces of two masks in millimetres, and the two scores that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion
from scipy.spatial import KDTree

__all__ = ["SurfaceDistances", "hausdorff", "surface_dice", "surface_distances"]

Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]


class SurfaceDistances(NamedTuple):
    """Millimetres from every surface voxel of one mask to the nearest of the other."""

    to_label: Values  # [number of surface voxels of the prediction]
    to_prediction: Values  # [number of surface voxels of the label]


def surface_distances(predicted: Mask, labelled: Mask, spacing: Sequence[float]) -> SurfaceDistances:
    """Distances between two masks of one shape, [Z,H,W] or [H,W], neither of them empty.

    `spacing` is in mm along the same axes. Surfaces are the voxels that a 6- (4-) connected erosion takes away. As in
    MONAI's metrics only what the masks cover is looked at, the nearest surface voxel is searched in a k-d tree, so that
    the time goes with the surfaces and not with the volume, and distances have single precision.
    """
    if predicted.ndim == 3 and predicted.shape[0] == 1:  # within a single slice every voxel would be a surface
        predicted, labelled, spacing = predicted[0], labelled[0], spacing[1:]
    covered = _bounds(predicted | labelled)
    points = [_surface(mask[covered]) * np.asarray(spacing, dtype=np.float64) for mask in (predicted, labelled)]
    there, back = (_nearest(one, other) for one, other in (points, points[::-1]))
    return SurfaceDistances(there, back)


def _bounds(mask: Mask) -> tuple[slice, ...]:
    """The box of all voxels of a mask that is not empty."""
    axes = range(mask.ndim)
    lines = (np.flatnonzero(mask.any(axis=tuple(other for other in axes if other != axis))) for axis in axes)
    return tuple(slice(int(line[0]), int(line[-1]) + 1) for line in lines)


def _surface(mask: Mask) -> Values:
    """Indices [n, axes] of the voxels that an erosion takes away, counted from one outside the box."""
    return np.argwhere(mask ^ binary_erosion(mask)).astype(np.float64) + 1.0


def _nearest(points: Values, others: Values) -> Values:
    # Larger leaves than usual: the tree is asked once.
    distances = np.asarray(KDTree(others, leafsize=32).query(points)[0], dtype=np.float32)
    return distances.astype(np.float64)


def hausdorff(distances: SurfaceDistances, percentile: float = 95.0) -> float:
    """The larger of both directions' percentile, in mm; 95 gives HD95, 100 the Hausdorff distance."""
    return float(max(np.percentile(direction, percentile) for direction in distances))


def surface_dice(distances: SurfaceDistances, tolerance: float) -> float:
    """Normalised surface Dice: the share of both surfaces that lies within `tolerance` mm of the other, 0 to 1."""
    near = sum(int((direction <= tolerance).sum()) for direction in distances)
    return near / sum(len(direction) for direction in distances)
