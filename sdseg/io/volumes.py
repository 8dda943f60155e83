"""Volumes of any format to raw values or label ids in canonical RAS+ order, and back to a file's own grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sdseg.artifacts.image_contract import ImageContract
from sdseg.core.array_types import AnyArray, FloatArray
from sdseg.core.errors import UserError
from sdseg.io.dicom import read_series, read_series_geometry, read_slice, read_slice_geometry
from sdseg.io.geometry import Geometry
from sdseg.io.itk import is_itk, read_itk, write_itk
from sdseg.io.limits import LIMITS, Limits
from sdseg.io.nifti import nifti_geometry, nifti_type, read_nifti, write_nifti
from sdseg.io.number_types import Values, alterations, as_type, values_of
from sdseg.io.volume_warnings import assumed_orientation, odd_values

__all__ = [
    "VOLUME_SUFFIXES",
    "Geometry",
    "check_numbers",
    "check_scale",
    "is_volume",
    "range_in_header",
    "read_geometry",
    "read_labels",
    "read_volume",
    "read_volume_noted",
    "to_stored",
    "write_volume",
]

VOLUME_SUFFIXES = (".nii", ".nii.gz")
FAR_WIDER = 50.0  # a window of this width is not meant for values within 2 units


def is_volume(path: Path) -> bool:
    """Whether the name is one of a volume this package reads."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def read_geometry(path: Path, modality: str = "ct") -> Geometry:
    """The grid of a NIfTI volume, of a folder with a DICOM series or of one slice of such, from headers alone.

    Raises UserError for anything but a 3-D volume.
    """
    if _is_slice(path):
        return read_slice_geometry(path, modality)
    return read_series_geometry(path, modality) if path.is_dir() else nifti_geometry(path)


def read_volume(path: Path, limits: Limits = LIMITS, modality: str = "ct") -> tuple[AnyArray, Geometry]:
    """A volume in RAS+ order, [X,Y,Z] with the values and the number type of the file, and its geometry.

    `path` is a file (NIfTI, MetaImage, NRRD, one slice in DICOM) or a folder with one DICOM series. Raises UserError
    for a file that is missing, truncated, larger than `limits`, not 3-D, or holds what `check_numbers` refuses, and
    for DICOM of another modality.
    """
    voxels, geometry, _ = read_volume_noted(path, limits, modality=modality)
    return voxels, geometry


def read_volume_noted(
    path: Path, limits: Limits = LIMITS, image: ImageContract | None = None, *, modality: str = "ct"
) -> tuple[AnyArray, Geometry, tuple[str, ...]]:
    """What `read_volume` gives, and what is odd about it, in words; `image` says what to expect, else `modality`."""
    modality = image.modality if image is not None else modality
    notes: tuple[str, ...] = ()
    if path.is_dir():
        raw, geometry, notes = read_series(path, limits, modality)
    elif _is_slice(path):
        raw, geometry = read_slice(path, limits, modality)
    else:
        raw, geometry = (read_itk if is_itk(path) else read_nifti)(path, limits)
    check_numbers(raw, path)
    return geometry.to_canonical(raw), geometry, notes + assumed_orientation(geometry) + odd_values(raw, image)


def check_numbers(raw: AnyArray, path: Path | None) -> None:
    """Raise UserError for voxels that are no real numbers, NaN, infinite, or beyond single precision."""
    if raw.dtype.kind not in "iufb":
        raise UserError(f"voxels of type {raw.dtype}; numbers are expected", where=path, remedy="export it as 16-bit")
    if raw.dtype.kind == "f":
        _check_finite(raw, path)


def to_stored(raw: AnyArray, image: ImageContract, path: Path | None) -> tuple[AnyArray, list[str]]:
    """Checked voxels of any shape as a store of `image` has them before they are resized, and what was lost, in words.

    Raises UserError for values between 0 and 1 or the like, where the window is one of Hounsfield units.
    """
    values = values_of(raw)
    check_scale(values, image.window, path)
    return as_type(raw, image.dtype), alterations(values, image.dtype)


def check_scale(values: Values, window: tuple[float, float], path: Path | None) -> None:
    """Raise UserError for values with fractions that all lie within 2 units, and a window that is far wider."""
    if not values.whole and values.high - values.low <= 2.0 and window[1] - window[0] > FAR_WIDER:
        raise UserError(
            f"values between {values.low:.3g} and {values.high:.3g}: normalised, where values of a window from "
            f"{window[0]:g} to {window[1]:g} are expected, as Hounsfield units are",
            where=path,
            remedy="give the volume with its original intensities",
        )


def range_in_header(path: Path) -> Values | None:
    """The range of values that a file can hold, by its header alone, where int16 holds it; None where it may not."""
    kind = None if path.is_dir() or _is_slice(path) or is_itk(path) else nifti_type(path)
    if kind is None or kind.kind not in "iu" or not np.can_cast(kind, np.int16):
        return None
    return Values(float(np.iinfo(kind).min), float(np.iinfo(kind).max), True)


def _is_slice(path: Path) -> bool:
    return path.suffix.lower() == ".dcm" and not path.is_dir()


def read_labels(path: Path, limits: Limits = LIMITS, *, deep: bool = False) -> tuple[AnyArray, Geometry]:
    """A label volume in RAS+ order, [X,Y,Z] uint8 ids, and its geometry; with `deep` uint16, numbers of objects.

    Raises UserError for values that are no whole numbers between 0 and 255 (65535), and for all that
    `read_volume` refuses.
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
    top = 65_535 if deep else 255
    if low < 0 or high > top:
        raise UserError(
            f"label values from {low} to {high}; ids between 0 and {top} are expected",
            where=path,
            remedy="check that this is the label file and not the image; numbers of objects, 1 to n, are taken for one "
            "label by 'mask_values: {nonzero: 1}'",
        )
    return geometry.to_canonical(raw.astype(np.uint16 if deep else np.uint8, copy=False)), geometry


def write_volume(array: AnyArray, geometry: Geometry, path: Path) -> None:
    """Write a canonical array [X,Y,Z] on the grid that `geometry` describes, in the format of `path`'s suffix."""
    (write_itk if is_itk(path) else write_nifti)(array, geometry, path)


def _check_finite(array: AnyArray | FloatArray, path: Path | None) -> None:
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise UserError(
            f"{bad} voxels are NaN or infinite", where=path, remedy="export the volume again, or replace these voxels"
        )
    largest = max(-float(array.min(initial=0)), float(array.max(initial=0)))
    if largest > float(np.finfo(np.float32).max):
        raise UserError(
            f"values up to {largest:.3g}, beyond single precision", where=path, remedy="export the volume again"
        )
