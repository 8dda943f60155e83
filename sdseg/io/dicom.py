"""A folder with one DICOM series of slices to (array, Geometry): sorted by position, checked for gaps.

Slices are ordered by where they lie, never by name or number; values are those of the scanner, of a CT Hounsfield
units, with each slice's own rescale slope and intercept applied. DICOM counts millimetres towards the patient's left
and back, NIfTI towards right and front: the affine given here is NIfTI's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import AnyArray
from sdseg.core.errors import ListedError, UserError
from sdseg.io.dicom_header import Slice, check_slice, read_header
from sdseg.io.dicom_pixels import read_pixels
from sdseg.io.dicom_series import DICOM_NAMES, MIXED, fits, one_series
from sdseg.io.geometry import Geometry
from sdseg.io.limits import LIMITS, Limits

__all__ = ["read_series", "read_series_geometry", "read_slice", "read_slice_geometry", "read_slices"]

GAP = 0.02  # positions are rounded in files: distances may differ by this part of the usual one
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
Vector = npt.NDArray[np.float64]


def read_series_geometry(folder: Path, modality: str = "ct") -> Geometry:
    """The grid of the series in `folder`, from the headers alone.

    Raises UserError or ListedError unless the folder holds exactly one series of this modality, of single,
    parallel, evenly spaced slices. Localisers, reports and segmentations beside them are passed over.
    """
    return _geometry(_sorted_slices(one_series(folder, modality).files, folder))


def read_series(
    folder: Path, limits: Limits = LIMITS, modality: str = "ct"
) -> tuple[AnyArray, Geometry, tuple[str, ...]]:
    """Voxels [column,row,slice] in the scanner's units, in the order of the affine, their geometry, what was left out.

    Raises what `read_series_geometry` does, and UserError for a slice whose pixels are damaged and a series larger than
    `limits`.
    """
    series = one_series(folder, modality)
    voxels, geometry, _ = read_slices(series.files, folder, limits)
    return voxels, geometry, series.notes


def read_slices(
    paths: Sequence[Path], folder: Path, limits: Limits = LIMITS
) -> tuple[AnyArray, Geometry, tuple[Path, ...]]:
    """Voxels and geometry of the files of `folder` that make up one series, and the files slice by slice."""
    slices = _sorted_slices(paths, folder)
    limits.check_volume((*slices[0].size, len(slices)), folder)
    pixels = [read_pixels(each.path) for each in slices]  # [rows,columns] each
    return np.stack(pixels).transpose(2, 1, 0), _geometry(slices), tuple(each.path for each in slices)


def read_slice_geometry(path: Path, modality: str = "ct") -> Geometry:
    """The grid of one slice, a volume of one; as far from the next as it is thick, or 1 mm where nothing tells."""
    header = read_header(path)
    check_slice(header)
    if not fits(header.modality, modality):
        raise UserError(
            f"modality '{header.modality}', where {DICOM_NAMES[modality]} is expected",
            where=path,
            remedy=f"give a slice of {'a CT' if modality == 'ct' else f'{DICOM_NAMES[modality]}'}; {MIXED}",
        )
    _, across = _directions(header)
    thickness = next((length for length in header.thickness if length > 0 and math.isfinite(length)), 1.0)
    return _on_grid(header, across * thickness, 1)


def read_slice(path: Path, limits: Limits = LIMITS, modality: str = "ct") -> tuple[AnyArray, Geometry]:
    """Voxels [column,row,1] of one slice in the scanner's units, and its grid. Raises UserError as a series does."""
    geometry = read_slice_geometry(path, modality)
    limits.check_volume(geometry.shape, path)
    return read_pixels(path).T[:, :, None], geometry


def _sorted_slices(paths: Sequence[Path], folder: Path) -> list[Slice]:
    headers = [read_header(path) for path in paths]
    for one in headers:
        check_slice(one)
    _check_alike(headers, folder)
    _, across = _directions(headers[0])
    ordered = sorted(headers, key=lambda each: float(np.dot(each.position, across)))
    _check_distances(ordered, folder)
    return ordered


def _check_alike(headers: Sequence[Slice], folder: Path) -> None:
    """All slices must have one size, spacing and direction; a scout among them is the usual exception."""
    usual = Counter(each.grid for each in headers).most_common(1)[0][0]
    strange = [each for each in headers if each.grid != usual]
    if strange:
        raise ListedError(
            f"{len(strange)} of {len(headers)} slices differ from the others in size, pixel spacing or direction:",
            (f"{each.path.name}: {each.size[0]}×{each.size[1]} pixels" for each in strange),
            where=folder,
            remedy="move them to a folder of their own",
        )


def _check_distances(ordered: Sequence[Slice], folder: Path) -> None:
    if len(ordered) < 2:
        raise UserError("one slice; a volume has at least two", where=folder, remedy="give the whole series")
    positions = np.array([each.position for each in ordered])
    steps = np.diff(positions, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    usual = float(np.median(lengths))
    problems = []
    for before, after, step, length in zip(ordered, ordered[1:], steps, lengths, strict=False):
        names = f"{before.path.name} and {after.path.name}"
        if length < 0.01:
            problems.append(f"{names} lie at the same place")
        elif length > (1 + GAP) * usual:
            problems.append(f"{names} lie {length:.4g} mm apart, the others {usual:.4g}: slices are missing between")
        elif length < (1 - GAP) * usual:
            problems.append(f"{names} lie {length:.4g} mm apart, the others {usual:.4g}")
        elif np.abs(step - np.median(steps, axis=0)).max() > GAP * usual:
            problems.append(f"{names} are shifted sideways against each other")
    if problems:
        raise ListedError(
            f"the slices are not evenly spaced ({len(problems)} problem(s)):",
            problems,
            where=folder,
            remedy="complete the series, or take doubles away",
        )


def _directions(one: Slice) -> tuple[tuple[Vector, Vector], Vector]:
    """Directions of a row and of a column, and the one across the slices."""
    row, column = np.array(one.orientation[:3]), np.array(one.orientation[3:])
    return (row, column), np.cross(row, column)


def _geometry(ordered: Sequence[Slice]) -> Geometry:
    """The affine leads from slice to slice as the files lie, so that a tilted gantry gives a sheared grid."""
    first, last = np.array(ordered[0].position), np.array(ordered[-1].position)
    return _on_grid(ordered[0], (last - first) / (len(ordered) - 1), len(ordered))


def _on_grid(one: Slice, step: Vector, count: int) -> Geometry:
    """The grid of `count` slices like this first one, each a `step` from the one before."""
    (row, column), _ = _directions(one)
    between_rows, between_columns = one.spacing
    affine = np.eye(4)
    affine[:3, 0] = row * between_columns
    affine[:3, 1] = column * between_rows
    affine[:3, 2] = step
    affine[:3, 3] = one.position
    matrix = tuple(tuple(float(value) for value in line) for line in LPS_TO_RAS @ affine)
    shape = (*one.size, count)
    return Geometry(shape=shape, affine=matrix, qform=matrix, qform_code=1, sform_code=1)
