"""The shape that is chosen from the training images before their pixels are read: plane, spacing and size of slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sdseg.config.shape import LONGEST, SHORTEST, USUAL_MULTIPLE, AutoSize, Fit, InPlane, Plane, Slicing
from sdseg.core.bounded_types import in_pixels, shortest
from sdseg.core.errors import UserError
from sdseg.data.fit import resampled_size
from sdseg.data.slicing import AXES, along_slices
from sdseg.io.geometry import Geometry

__all__ = ["choose_plane", "choose_size", "choose_spacing", "coarsest_plane", "slice_sizes"]

DIRECTIONS = ("from left to right", "from back to front", "from foot to head")  # canonical axes x, y, z
ALIKE = 1.05  # times: distances that differ by less are taken for equal, and axial slices for the usual ones
DIGITS = 4  # of a spacing that is chosen, in mm


def choose_plane(slicing: Slicing, training: Sequence[Geometry]) -> tuple[Plane, str]:
    """The plane, and why in words: as `slicing` says, or across the axis with the longest voxels, by their median."""
    if slicing != "coarsest":
        return slicing, ""
    if not training:
        return "axial", ""  # no header could be read, which forbids the dataset anyway
    spacings = [geometry.spacing for geometry in training]
    plane = coarsest_plane(spacings)
    axis = AXES[plane][0]
    in_words = " × ".join(f"{length:.3g}" for length in np.median(spacings, axis=0))
    other = sum(max(geometry.spacing) > ALIKE * geometry.spacing[axis] for geometry in training)
    unlike = f"; of {other} of these volumes another axis is the coarsest" if other else ""
    return plane, (
        f"slices are {plane}: voxels are longest {DIRECTIONS[axis]} (median of {len(training)} training volumes: "
        f"{in_words} mm, left-right, back-front, foot-head){unlike}"
    )


def coarsest_plane(spacings: Sequence[tuple[float, ...]]) -> Plane:
    """The plane across the axis with the longest voxels, by their median; axial where that is nearly as long."""
    if not spacings:
        return "axial"
    lengths = np.median(spacings, axis=0)
    axis = 2 if lengths[2] * ALIKE >= lengths.max() else int(lengths.argmax())
    return next(plane for plane, axes in AXES.items() if axes[0] == axis)


def choose_spacing(training: Sequence[Geometry], plane: Plane) -> tuple[InPlane, str]:
    """The median distance of rows and of columns, in mm, and how it came about in words.

    Raises UserError for one that no image has.
    """
    rows, columns = (
        round(float(length), DIGITS)
        for length in np.median([along_slices(each.spacing, plane)[1:] for each in training], axis=0)
    )
    if not all(SHORTEST <= length <= LONGEST for length in (rows, columns)):
        raise UserError(
            f"the median spacing of the training volumes is {rows:g} × {columns:g} mm, and {SHORTEST:g} to {LONGEST:g} "
            "are possible",
            where="'spacing: median' of the dataset's settings",
            remedy="correct the spacing in the files, or leave 'spacing' out",
        )
    return (rows, columns), (
        f"slices are resampled to {rows:g} × {columns:g} mm (rows, columns), the median of {len(training)} training "
        "volumes"
    )


def slice_sizes(volumes: Sequence[Geometry], plane: Plane, spacing: InPlane | None) -> list[tuple[int, int]]:
    """Rows and columns of the slices of each volume, resampled where a `spacing` is given."""
    sizes = []
    for geometry in volumes:
        _, rows, columns = along_slices(geometry.canonical_shape, plane)
        own = along_slices(geometry.spacing, plane)[1:]
        sizes.append((rows, columns) if spacing is None else resampled_size((rows, columns), (own[0], own[1]), spacing))
    return sizes


def choose_size(sizes: Sequence[tuple[int, int]], auto: AutoSize, fit: Fit | None) -> tuple[int | tuple[int, int], str]:
    """Height and width as the networks take them, from those of the training images; how they came about in words.

    `fit` is of slices that are resampled, else None. Their median counts; where slices would be cut off (crop) the
    largest height and the largest width. Larger ones than `at_most` are shrunk with their side ratio; resampled slices
    keep their spacing, and each side is bounded: the words say how many volumes of a crop lose something. Sides are the
    nearest multiples (of resampled slices the next larger ones), two times `multiple_of` at least: instance norm wants
    more than one pixel at the coarsest level. Raises UserError where `at_most` has no room for that.
    """
    multiple = auto.multiple_of or USUAL_MULTIPLE
    if auto.at_most < 2 * multiple:
        raise UserError(
            f"size.at_most is {auto.at_most}, and sides are multiples of {multiple}, two of them at least",
            where="'size' of the dataset's settings",
            remedy=f"set it to {2 * multiple} or more, or 'multiple_of' to what the network needs",
        )
    usual = np.max(sizes, axis=0) if fit == "crop" else np.median(sizes, axis=0)
    part = 1.0 if fit else min(1.0, auto.at_most / usual.max())
    steps = usual * part / multiple
    steps = np.clip(np.ceil(steps) if fit else np.floor(steps + 0.5), 2, auto.at_most // multiple).astype(int)
    size = shortest((int(steps[0]) * multiple, int(steps[1]) * multiple))
    cut = sum(bool((np.array(each) > steps * multiple).any()) for each in sizes) if fit == "crop" else 0
    height, width = (f"{side:g}" for side in usual)
    return size, (
        f"size {in_pixels(size)}: training images have {height} × {width} pixels "
        f"({'largest' if fit == 'crop' else 'median'} of {len(sizes)}{', resampled' if fit else ''}), "
        f"sides are multiples of {multiple} and {auto.at_most} at most"
        + (f"; of {cut} of {len(sizes)} training volumes slices are larger and are cut off" if cut else "")
    )
