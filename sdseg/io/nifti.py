"""NIfTI files to (array, Geometry) and back, through nibabel."""

from __future__ import annotations

import gzip
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from isal import isal_zlib
from nibabel import imageglobals
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.core.files import atomic_file
from sdseg.io.content import content_of, file_size, unreadable
from sdseg.io.geometry import Geometry, Matrix, fault_of_affine
from sdseg.io.limits import LIMITS, Limits

__all__ = ["nifti_geometry", "nifti_type", "read_nifti", "write_nifti"]

INFLATE_ERROR = cast("type[Exception]", isal_zlib.IsalError)  # isal's own annotations take the class for an instance
DAMAGED = (
    *(OSError, EOFError, INFLATE_ERROR, ImageFileError, HeaderDataError, WrapStructError),
    *(ValueError, KeyError, TypeError, OverflowError),  # of bytes that nibabel did not think of
)
MAGIC = (b"n+1", b"n+2")  # at byte 344 of NIfTI-1, at byte 4 of NIfTI-2
HEADER = 540  # bytes of the longer one of the two
BEHIND = 1 << 16  # bytes that may follow the voxels, as some writers pad files; more are not read
NIFTI2 = ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))  # a file begins with the size of its header


def nifti_geometry(path: Path) -> Geometry:
    """The grid of a volume, from its header alone. Raises UserError for anything but a 3-D volume."""
    file_size(path)
    try:
        with np.errstate(all="ignore"):  # numbers that no float holds: the affine is looked at afterwards
            return _geometry(_nifti(nib.load(path), path), path)
    except DAMAGED as error:
        raise unreadable(path, error) from None


def nifti_type(path: Path) -> np.dtype[Any] | None:
    """The number type of the voxels, from the header alone; None where they are scaled to other values."""
    file_size(path)
    try:
        proxy: Any = _nifti(nib.load(path), path).dataobj
        return proxy.dtype if (proxy.slope, proxy.inter) == (1.0, 0.0) else None
    except DAMAGED as error:
        raise unreadable(path, error) from None


def read_nifti(path: Path, limits: Limits = LIMITS) -> tuple[AnyArray, Geometry]:
    """The file's array [i,j,k] with its scaling applied (float32 where it has one), and its geometry.

    Raises UserError for anything but a whole 3-D volume within `limits`, which its header is asked about before the
    voxels are unpacked.
    """
    data = content_of(path)
    imageglobals.logger.setLevel(logging.CRITICAL)  # nibabel's own messages name no file; what it raises is told
    try:
        packed = data[:2] == b"\x1f\x8b"
        length = _promised(_gunzip(data, HEADER) if packed else data[:HEADER], path, limits)
        if packed:
            data = _gunzip(data, length + BEHIND)
        kind = nib.Nifti2Image if data[:4] in NIFTI2 else nib.Nifti1Image
        with np.errstate(all="ignore"):
            image = _nifti(kind.from_bytes(data), path)
            geometry = _geometry(image, path)
        proxy: Any = image.dataobj
        scaled = (proxy.slope, proxy.inter) != (1.0, 0.0)
        array = np.asarray(proxy, dtype=np.float32) if scaled else _in_place(proxy, data)
    except DAMAGED as error:
        raise unreadable(path, error) from None
    return np.asarray(array), geometry


def write_nifti(array: AnyArray, geometry: Geometry, path: Path) -> None:
    """Write a canonical array [X,Y,Z] as NIfTI on the grid that `geometry` describes: same axes, affine and codes.

    A fourth axis of the array stays the last, without a unit.
    """
    native = np.ascontiguousarray(geometry.to_native(array))
    image = nib.Nifti1Image(native, geometry.matrix, dtype=native.dtype)
    image.header.set_xyzt_units(geometry.units[0], geometry.units[1] if native.ndim == 3 else "unknown")
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


def _promised(head: bytes, path: Path, limits: Limits) -> int:
    """Bytes of the whole file by its header; raises UserError where that is no header of a volume within `limits`."""
    if head[344:347] not in MAGIC and head[4:7] not in MAGIC:
        raise UserError("not a NIfTI file", where=path, remedy="replace the file by a whole, valid copy")
    kind: Any = nib.Nifti2Header if head[:4] in NIFTI2 else nib.Nifti1Header
    header = kind(head[: kind.template_dtype.itemsize], check=False)
    shape, itemsize = _checked(header.get_data_shape(), path), int(header.get_data_dtype().itemsize)
    limits.check_volume(shape, path, itemsize)
    return int(header["vox_offset"]) + math.prod(shape) * itemsize


def _gunzip(data: bytes, most: int) -> bytes:
    """All members of a gzip file up to `most` bytes, in few long calls without Python's lock, so that threads add up.

    ISA-L takes half the time of zlib, and decompression is most of the time of preparing volumes.
    """
    parts: list[bytes] = []
    while data and most > 0:
        member = isal_zlib.decompressobj(wbits=31)
        parts.append(member.decompress(data, most))
        most -= len(parts[-1])
        if not member.eof and most > 0:
            raise EOFError("the compressed data ends too early")
        data = member.unused_data.lstrip(b"\0")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _nifti(image: Any, path: Path) -> nib.Nifti1Image:
    if not isinstance(image, nib.Nifti1Image):
        raise UserError(f"a {type(image).__name__}, not NIfTI", where=path, remedy="convert it to .nii.gz")
    return image


def _geometry(image: nib.Nifti1Image, path: Path) -> Geometry:
    shape = _checked(image.shape, path)
    affine = np.asarray(image.affine, dtype=np.float64)
    fault = fault_of_affine(affine)
    if fault is not None:
        raise UserError(fault, where=path, remedy="repair the file's header")
    header: Any = image.header
    return Geometry(
        shape=shape,
        affine=_rows(affine),
        qform=_rows(header.get_qform()),
        qform_code=int(header["qform_code"]),
        sform_code=int(header["sform_code"]),
        units=_units(header),
    )


def _checked(lengths: Sequence[int], path: Path) -> tuple[int, int, int]:
    shape = tuple(int(length) for length in lengths)
    if len(shape) != 3:
        raise UserError(
            f"a {len(shape)}-D volume of shape {shape}; 3-D is expected",
            where=path,
            remedy="save each channel or time point as its own 3-D file",
        )
    if min(shape) < 1:
        raise UserError(f"an empty volume of shape {shape}", where=path, remedy="export it again")
    x, y, z = shape
    return x, y, z


def _units(header: Any) -> tuple[str, str]:
    try:
        space, time = header.get_xyzt_units()
    except KeyError:  # a code that NIfTI does not know, as some writers leave it
        return "mm", "unknown"
    return str(space), str(time)


def _rows(matrix: AnyArray) -> Matrix:
    return tuple(tuple(float(value) for value in row) for row in matrix)
