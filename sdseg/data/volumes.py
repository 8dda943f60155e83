"""Volumes of any format to Hounsfield units or label ids in canonical RAS+ order, and back to a file's own grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdseg.data.dicom import read_series, read_series_geometry
from sdseg.data.geometry import Geometry
from sdseg.data.itk_files import is_itk, read_itk, write_itk
from sdseg.data.limits import LIMITS, Limits
from sdseg.data.nifti import nifti_geometry, read_nifti, write_nifti
from sdseg.data.oddities import odd_values
from sdseg.errors import UserError
from sdseg.tensors import AnyArray, FloatArray

__all__ = [
    "VOLUME_SUFFIXES",
    "Geometry",
    "is_volume",
    "read_geometry",
    "read_labels",
    "read_volume",
    "read_volume_noted",
    "to_hounsfield",
    "write_volume",
]

VOLUME_SUFFIXES = (".nii", ".nii.gz")
INT16 = np.iinfo(np.int16)


def is_volume(path: Path) -> bool:
    """Whether the name is one of a volume this package reads."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def read_geometry(path: Path) -> Geometry:
    """The grid of a NIfTI volume or of a folder with a DICOM series, from headers alone.

    Raises UserError for anything but a 3-D volume.
    """
    return read_series_geometry(path) if path.is_dir() else nifti_geometry(path)


def read_volume(path: Path, limits: Limits = LIMITS) -> tuple[npt.NDArray[np.int16], Geometry]:
    """A CT volume in RAS+ order, [X,Y,Z] int16 Hounsfield units (rounded, and clipped to int16), and its geometry.

    `path` is a file (NIfTI, MetaImage or NRRD) or a folder with one DICOM series. Raises UserError for a file that is
    missing, truncated, larger than `limits`, not 3-D, or holds NaN, infinite or normalised values.
    """
    voxels, geometry, _ = read_volume_noted(path, limits)
    return voxels, geometry


def read_volume_noted(
    path: Path, limits: Limits = LIMITS, window: tuple[float, float] | None = None
) -> tuple[npt.NDArray[np.int16], Geometry, tuple[str, ...]]:
    """What `read_volume` gives, and what is odd about it, in words; `window` is that of the values to expect."""
    notes: tuple[str, ...] = ()
    if path.is_dir():
        raw, geometry, notes = read_series(path, limits)
    else:
        raw, geometry = (read_itk if is_itk(path) else read_nifti)(path, limits)
    return geometry.to_canonical(to_hounsfield(raw, path)), geometry, notes + odd_values(raw, window)


def to_hounsfield(raw: AnyArray, path: Path | None) -> npt.NDArray[np.int16]:
    """Values of any number type, any shape, as int16 Hounsfield units: rounded, and clipped to int16.

    Raises UserError for values that are no numbers, NaN, infinite, or normalised.
    """
    if raw.dtype.kind not in "iufb":
        raise UserError(f"voxels of type {raw.dtype}; numbers are expected", where=path, remedy="export it as 16-bit")
    if raw.dtype.kind == "f":
        _check_finite(raw, path)
        low, high = float(raw.min(initial=0)), float(raw.max(initial=0))
        if high - low <= 2.0 and not np.array_equal(raw, np.rint(raw)):
            raise UserError(
                f"values between {low:.3g} and {high:.3g}: normalised, where Hounsfield units are expected",
                where=path,
                remedy="give the volume with its original intensities",
            )
        raw = np.rint(raw)
    if raw.dtype != np.int16:
        raw = np.clip(raw, INT16.min, INT16.max).astype(np.int16)
    return raw


def read_labels(path: Path, limits: Limits = LIMITS) -> tuple[npt.NDArray[np.uint8], Geometry]:
    """A label volume in RAS+ order, [X,Y,Z] uint8 ids, and its geometry.

    Raises UserError for values that are no whole numbers between 0 and 255, and for all that `read_volume` refuses.
    """
    raw, geometry = read_nifti(path, limits)
    if raw.dtype.kind not in "iufb":
        raise UserError(f"labels of type {raw.dtype}; numbers are expected", where=path, remedy="export it as 8-bit")
    if raw.dtype.kind == "f":
        _check_finite(raw, path)
        if not np.array_equal(raw, np.rint(raw)):
            raise UserError(
                "label values are not whole numbers",
                where=path,
                remedy="give label ids; a resampled label map must be made with nearest neighbour",
            )
    low, high = int(raw.min(initial=0)), int(raw.max(initial=0))
    if low < 0 or high > 255:
        raise UserError(
            f"label values from {low} to {high}; ids between 0 and 255 are expected",
            where=path,
            remedy="check that this is the label file and not the image",
        )
    return geometry.to_canonical(raw.astype(np.uint8, copy=False)), geometry


def write_volume(array: AnyArray, geometry: Geometry, path: Path) -> None:
    """Write a canonical array [X,Y,Z] on the grid that `geometry` describes, in the format of `path`'s suffix."""
    (write_itk if is_itk(path) else write_nifti)(array, geometry, path)


def _check_finite(array: AnyArray | FloatArray, path: Path | None) -> None:
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise UserError(
            f"{bad} voxels are NaN or infinite", where=path, remedy="export the volume again, or replace these voxels"
        )
