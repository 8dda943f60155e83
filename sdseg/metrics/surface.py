"""Distances between the surfaces of two masks in millimetres, and the two scores that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["SurfaceDistances", "hausdorff", "surface_dice", "surface_distances"]

Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]


class SurfaceDistances(NamedTuple):
    """Millimetres from every surface voxel of one mask to the nearest of the other."""

    to_label: Values  # [number of surface voxels of the prediction]
    to_prediction: Values  # [number of surface voxels of the label]


def surface_distances(predicted: Mask, labelled: Mask, spacing: Sequence[float]) -> SurfaceDistances:
    """Distances between two masks of one shape, [Z,H,W] or [H,W], neither of them empty.

    `spacing` is in mm along the same axes. Surfaces are the voxels that a 6- (4-) connected erosion takes away; MONAI
    crops to what both masks cover and searches the nearest surface voxel in a k-d tree, so that the time goes with the
    surfaces and not with the volume.
    """
    from monai.metrics.utils import get_mask_edges, get_surface_distance

    if predicted.ndim == 3 and predicted.shape[0] == 1:  # within a single slice every voxel would be a surface
        predicted, labelled, spacing = predicted[0], labelled[0], spacing[1:]
    edges = get_mask_edges(predicted, labelled, crop=True)
    there, back = (
        get_surface_distance(one, other, distance_metric="euclidean", spacing=list(spacing))
        for one, other in (edges, edges[::-1])
    )
    return SurfaceDistances(np.asarray(there, dtype=np.float64), np.asarray(back, dtype=np.float64))


def hausdorff(distances: SurfaceDistances, percentile: float = 95.0) -> float:
    """The larger of both directions' percentile, in mm; 95 gives HD95, 100 the Hausdorff distance."""
    return float(max(np.percentile(direction, percentile) for direction in distances))


def surface_dice(distances: SurfaceDistances, tolerance: float) -> float:
    """Normalised surface Dice: the share of both surfaces that lies within `tolerance` mm of the other, 0 to 1."""
    near = sum(int((direction <= tolerance).sum()) for direction in distances)
    return near / sum(len(direction) for direction in distances)
