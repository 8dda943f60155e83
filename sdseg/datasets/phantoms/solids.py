"""What every phantom volume is made of: smooth noise, ellipsoids and tubes in space, scanner orientations."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff
from scipy import ndimage

from sdseg.core.array_types import AnyArray
from sdseg.datasets.phantoms.canvas import Floats

__all__ = ["Space", "ellipsoid", "make_space", "oriented", "rounded", "smooth_noise3", "tube"]


@dataclass(frozen=True)
class Space:
    """Coordinates of every voxel, [X,Y,Z] each, -1…1: towards the patient's right, front and head."""

    x: Floats
    y: Floats
    z: Floats

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.x.shape[0], self.x.shape[1], self.x.shape[2])


def make_space(rng: np.random.Generator, shape: tuple[int, int, int], bend: float) -> Space:
    """A space bent smoothly by about `bend`, so that no two volumes hold the same shapes."""
    axes = [((np.arange(count) + 0.5) / count * 2 - 1).astype(np.float32) for count in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    bent = [axis + np.float32(bend) * smooth_noise3(rng, shape, (3, 3, 2)) for axis in (x, y)]
    return Space(bent[0], bent[1], z)


def smooth_noise3(rng: np.random.Generator, shape: tuple[int, int, int], cells: tuple[int, int, int]) -> Floats:
    """Noise [X,Y,Z] with about so many bumps along each axis; mean 0, variance about 1."""
    coarse = rng.standard_normal([count + 3 for count in cells]).astype(np.float32)
    field = coarse
    for axis, (count, knots) in enumerate(zip(shape, cells, strict=True)):
        # One small matrix per axis instead of a general zoom: the same smoothness for a tenth of the time.
        place = np.linspace(1, knots + 1, count)
        weights = np.exp(-0.5 * ((place[:, None] - np.arange(knots + 3)[None, :]) / 0.5) ** 2)
        weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
        field = np.moveaxis(np.tensordot(weights.astype(np.float32), field, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(field, dtype=np.float32)


def ellipsoid(space: Space, centre: npt.ArrayLike, radii: npt.ArrayLike, turn: float = 0.0) -> Floats:
    """Signed depth below an ellipsoid's surface, about in units of the space; `turn` in radians about the z axis."""
    middle, axes = np.asarray(centre, dtype=np.float32), np.asarray(radii, dtype=np.float32)
    x, y, z = space.x - middle[0], space.y - middle[1], (space.z - middle[2]) / axes[2]
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    distance = np.sqrt(((cos * x + sin * y) / axes[0]) ** 2 + ((cos * y - sin * x) / axes[1]) ** 2 + z * z)
    return np.asarray((1 - distance) * min(axes[0], axes[1]), dtype=np.float32)


def tube(space: Space, points: npt.ArrayLike, radius: float, height: float = 1.0) -> Floats:
    """Signed depth below the surface of a tube along a broken line, [n,3]; `height` stretches its section along z."""
    knots = np.asarray(points, dtype=np.float32)
    nearest = np.full(space.shape, np.inf, dtype=np.float32)
    for start, end in pairwise(knots):
        along = end - start
        x, y, z = space.x - start[0], space.y - start[1], space.z - start[2]
        share = np.clip((x * along[0] + y * along[1] + z * along[2]) / max(float(along @ along), 1e-9), 0, 1)
        dx, dy, dz = x - share * along[0], y - share * along[1], (z - share * along[2]) / np.float32(height)
        nearest = np.minimum(nearest, dx * dx + dy * dy + dz * dz)
    return np.asarray(np.float32(radius) - np.sqrt(nearest), dtype=np.float32)


def rounded(voxels: Floats, sigma: float, low: float, high: float) -> npt.NDArray[np.int16]:
    """What a detector makes of it: blurred within slices by `sigma` voxels, cut off at both ends, whole numbers."""
    smoothed = ndimage.gaussian_filter(voxels, (sigma, sigma, 0.3), truncate=3)
    return np.asarray(np.clip(np.round(smoothed), low, high), dtype=np.int16)


def oriented(
    arrays: tuple[AnyArray, ...], spacing: tuple[float, float, float], codes: str
) -> tuple[tuple[AnyArray, ...], npt.NDArray[np.float64]]:
    """Arrays given in RAS order turned into the orientation `codes` (such as "LPS"), and their affine."""
    shape = arrays[0].shape
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.asarray(spacing) * (np.asarray(shape) - 1) / 2  # the scanner's origin lies in the middle
    change = nib.orientations.ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    turned = tuple(np.ascontiguousarray(apply_orientation(array, change)) for array in arrays)
    return turned, affine @ inv_ornt_aff(change, shape)
