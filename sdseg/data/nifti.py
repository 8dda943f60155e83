"""NIfTI files to (array, Geometry) and back, through nibabel."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from isal import isal_zlib
from nibabel import imageglobals
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from sdseg.artifacts import atomic_file
from sdseg.data.contents import content_of, missing, unreadable
from sdseg.data.geometry import Geometry, Matrix
from sdseg.errors import UserError
from sdseg.tensors import AnyArray

__all__ = ["nifti_geometry", "read_nifti", "write_nifti"]

INFLATE_ERROR = cast("type[Exception]", isal_zlib.IsalError)  # isal's own annotations take the class for an instance
DAMAGED = (OSError, EOFError, INFLATE_ERROR, ValueError, ImageFileError, HeaderDataError, WrapStructError)
MAGIC = (b"n+1", b"n+2")  # at byte 344 of NIfTI-1, at byte 4 of NIfTI-2
NIFTI2 = ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))  # a file begins with the size of its header


def nifti_geometry(path: Path) -> Geometry:
    """The grid of a volume, from its header alone. Raises UserError for anything but a 3-D volume."""
    try:
        return _geometry(_nifti(nib.load(path), path), path)
    except FileNotFoundError:
        raise missing(path) from None
    except DAMAGED as error:
        raise unreadable(path, error) from None


def read_nifti(path: Path) -> tuple[AnyArray, Geometry]:
    """The file's array [i,j,k] with its scaling applied (float32 where it has one), and its geometry."""
    data = content_of(path)
    imageglobals.logger.setLevel(logging.CRITICAL)  # nibabel's own messages name no file; what it raises is told
    try:
        if data[:2] == b"\x1f\x8b":
            data = _gunzip(data)
        if data[344:347] not in MAGIC and data[4:7] not in MAGIC:
            raise UserError("not a NIfTI file", where=path, remedy="replace the file by a whole, valid copy")
        kind = nib.Nifti2Image if data[:4] in NIFTI2 else nib.Nifti1Image
        image = _nifti(kind.from_bytes(data), path)
        geometry = _geometry(image, path)
        proxy: Any = image.dataobj
        scaled = (proxy.slope, proxy.inter) != (1.0, 0.0)
        array = np.asarray(proxy, dtype=np.float32) if scaled else _in_place(proxy, data)
    except DAMAGED as error:
        raise unreadable(path, error) from None
    return np.asarray(array), geometry


def write_nifti(array: AnyArray, geometry: Geometry, path: Path) -> None:
    """Write a canonical array [X,Y,Z] as NIfTI on the grid that `geometry` describes: same axes, affine and codes."""
    native = np.ascontiguousarray(geometry.to_native(array))
    image = nib.Nifti1Image(native, geometry.matrix, dtype=native.dtype)
    image.header.set_xyzt_units(*geometry.units)
    image.set_sform(geometry.matrix, code=geometry.sform_code)
    image.set_qform(np.asarray(geometry.qform), code=geometry.qform_code, strip_shears=True)
    data = image.to_bytes()
    if path.name.lower().endswith(".gz"):
        data = gzip.compress(data, compresslevel=6, mtime=0)  # no time inside: same mask, same bytes
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def _in_place(proxy: Any, data: bytes) -> AnyArray:
    """The voxels where they lie in the file's content, not copied; read-only."""
    lacking = int(proxy.offset) + int(np.prod(proxy.shape)) * proxy.dtype.itemsize - len(data)
    if lacking > 0:
        raise EOFError(f"{lacking} bytes are missing at the end")
    return np.ndarray(proxy.shape, proxy.dtype, data, int(proxy.offset), order="F")


def _gunzip(data: bytes) -> bytes:
    """All members of a gzip file, in few long calls without Python's lock, so that threads add up.

    ISA-L takes half the time of zlib, and decompression is most of the time of preparing volumes.
    """
    parts: list[bytes] = []
    while data:
        member = isal_zlib.decompressobj(wbits=31)
        parts.append(member.decompress(data))
        if not member.eof:
            raise EOFError("the compressed data ends too early")
        data = member.unused_data.lstrip(b"\0")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _nifti(image: Any, path: Path) -> nib.Nifti1Image:
    if not isinstance(image, nib.Nifti1Image):
        raise UserError(f"a {type(image).__name__}, not NIfTI", where=path, remedy="convert it to .nii.gz")
    return image


def _geometry(image: nib.Nifti1Image, path: Path) -> Geometry:
    shape = tuple(int(length) for length in image.shape)
    if len(shape) != 3:
        raise UserError(
            f"a {len(shape)}-D volume of shape {shape}; 3-D is expected",
            where=path,
            remedy="save each channel or time point as its own 3-D file",
        )
    if min(shape) < 1:
        raise UserError(f"an empty volume of shape {shape}", where=path, remedy="export it again")
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise UserError("the affine places all voxels in one plane", where=path, remedy="repair the file's header")
    header: Any = image.header
    x, y, z = shape
    return Geometry(
        shape=(x, y, z),
        affine=_rows(affine),
        qform=_rows(header.get_qform()),
        qform_code=int(header["qform_code"]),
        sform_code=int(header["sform_code"]),
        units=_units(header),
    )


def _units(header: Any) -> tuple[str, str]:
    try:
        space, time = header.get_xyzt_units()
    except KeyError:  # a code that NIfTI does not know, as some writers leave it
        return "mm", "unknown"
    return str(space), str(time)


def _rows(matrix: AnyArray) -> Matrix:
    return tuple(tuple(float(value) for value in row) for row in matrix)
