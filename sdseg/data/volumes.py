"""Files of images and volumes to arrays with their geometry, and back: the only room that knows a file format.

Images come back as RGB with the orientation tag of the camera applied; volumes come back in canonical RAS+ order
with a `Geometry` that leads exactly back to the grid of the file.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, cast

import cv2
import nibabel as nib
import numpy as np
import numpy.typing as npt
from isal import isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from sdseg.artifacts import atomic_file
from sdseg.data.dicom import read_series, read_series_geometry
from sdseg.data.geometry import Geometry, Matrix
from sdseg.data.itk_files import is_itk, read_itk
from sdseg.errors import UserError
from sdseg.tensors import AnyArray, FloatArray

__all__ = [
    "IMAGE_SUFFIXES",
    "VOLUME_SUFFIXES",
    "Geometry",
    "is_image",
    "is_volume",
    "read_geometry",
    "read_image",
    "read_image_noted",
    "read_labels",
    "read_mask",
    "read_volume",
    "to_hounsfield",
    "write_image",
    "write_volume",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
VOLUME_SUFFIXES = (".nii", ".nii.gz")
Pixels = npt.NDArray[np.uint8]
INFLATE_ERROR = cast("type[Exception]", isal_zlib.IsalError)  # isal's own annotations take the class for an instance
DAMAGED = (OSError, EOFError, INFLATE_ERROR, ValueError, ImageFileError, HeaderDataError, WrapStructError)
INT16 = np.iinfo(np.int16)
NIFTI2 = ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))  # a file begins with the size of its header


def is_image(path: Path) -> bool:
    """Whether the name is one of an image this package reads."""
    return path.name.lower().endswith(IMAGE_SUFFIXES)


def is_volume(path: Path) -> bool:
    """Whether the name is one of a volume this package reads."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def read_image(path: Path) -> Pixels:
    """An image as RGB, [H,W,3] uint8.

    Grey becomes three equal channels, transparency is dropped, 16-bit values are divided by 257, and the camera's
    orientation tag is applied. Raises UserError for a file that is missing, truncated, of several pages or not 8 or
    16 bits deep.
    """
    return read_image_noted(path)[0]


def read_image_noted(path: Path) -> tuple[Pixels, tuple[str, ...]]:
    """What `read_image` gives, and what is odd about its values, in words.

    Cameras of 10 or 12 bits are often saved within 16 bits, with or without an offset: such an image turns out all but
    black, or in one flat tone.
    """
    pixels = _decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    notes: tuple[str, ...] = ()
    if pixels.dtype == np.uint16:
        notes = _narrow_range(pixels)
        pixels = np.rint(pixels / 257.0).astype(np.uint8)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8), notes


def read_mask(path: Path) -> Pixels:
    """A mask image as grey levels, [H,W] uint8, as they are in the file (16-bit levels above 255 divided by 257)."""
    pixels = _decode(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if pixels.dtype == np.uint16 and pixels.max(initial=0) > 255:
        pixels = np.rint(pixels / 257.0)
    return pixels.astype(np.uint8)


def write_image(path: Path, pixels: Pixels | npt.NDArray[np.uint16]) -> None:
    """Write RGB [H,W,3] or grey [H,W] pixels, uint8 or (PNG, TIFF) uint16; the suffix of `path` chooses the format."""
    ordered = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    if not is_image(path):
        raise UserError(
            f"cannot encode an image as '{path.suffix}'", where=path, remedy=f"use {', '.join(IMAGE_SUFFIXES)}"
        )
    done, data = cv2.imencode(path.suffix, ordered)
    if not done:
        raise ValueError(f"cannot encode pixels {pixels.dtype} {pixels.shape}")
    with atomic_file(path) as temporary:
        temporary.write_bytes(data.tobytes())


def read_geometry(path: Path) -> Geometry:
    """The grid of a NIfTI volume or of a folder with a DICOM series, from headers alone.

    Raises UserError for anything but a 3-D volume.
    """
    if path.is_dir():
        return read_series_geometry(path)
    try:
        return _geometry(_nifti(nib.load(path), path), path)
    except FileNotFoundError:
        raise _missing(path) from None
    except DAMAGED as error:
        raise _unreadable(path, error) from None


def read_volume(path: Path) -> tuple[npt.NDArray[np.int16], Geometry]:
    """A CT volume in RAS+ order, [X,Y,Z] int16 Hounsfield units (rounded, and clipped to int16), and its geometry.

    `path` is a file (NIfTI, MetaImage or NRRD) or a folder with one DICOM series. Raises UserError for a file that is
    missing, truncated, not 3-D, or holds NaN, infinite or normalised values.
    """
    read = read_series if path.is_dir() else read_itk if is_itk(path) else _read
    raw, geometry = read(path)
    return geometry.to_canonical(to_hounsfield(raw, path)), geometry


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


def read_labels(path: Path) -> tuple[npt.NDArray[np.uint8], Geometry]:
    """A label volume in RAS+ order, [X,Y,Z] uint8 ids, and its geometry.

    Raises UserError for values that are no whole numbers between 0 and 255, and for all that `read_volume` refuses.
    """
    raw, geometry = _read(path)
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


def _decode(path: Path, flags: int) -> AnyArray:
    data = _bytes(path)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # OpenCV's own messages name no file
    try:
        pages = _decode_pages(data, flags) if data[:2] in (b"II", b"MM") else [cv2.imdecode(_view(data), flags)]
    except cv2.error as error:
        raise _unreadable(path, error) from None
    if not pages or pages[0] is None or (data[:2] == b"\xff\xd8" and not _jpeg_ends(data)):
        raise UserError(
            "not a readable image: truncated, damaged or of another format",
            where=path,
            remedy="replace the file by a whole copy (PNG, JPEG, TIFF or BMP)",
        )
    if len(pages) > 1:
        raise UserError(
            f"a TIFF of {len(pages)} pages; one image is expected", where=path, remedy="save each page as its own file"
        )
    if pages[0].dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"pixels of type {pages[0].dtype}; 8 or 16 bits are expected", where=path, remedy="save it with 8 bits"
        )
    return np.asarray(pages[0])


def _narrow_range(pixels: AnyArray) -> tuple[str, ...]:
    low, high = int(pixels.min()), int(pixels.max())
    if not 0 < high - low < 4096:
        return ()
    return (
        f"16 bits of which only the values {low} to {high} are used: the image is all but black or flat; "
        "save it with 8 bits, or spread over 0 to 65535",
    )


def _decode_pages(data: bytes, flags: int) -> list[AnyArray]:
    done, pages = cv2.imdecodemulti(_view(data), flags)
    return list(pages) if done else []


def _view(data: bytes) -> Pixels:
    return np.frombuffer(data, dtype=np.uint8)


def _jpeg_ends(data: bytes) -> bool:
    """Whether the pixel data of a JPEG is closed by its end marker; decoders fill a missing rest with grey."""
    return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")


def _read(path: Path) -> tuple[AnyArray, Geometry]:
    """The file's array [i,j,k] with its scaling applied (float32 where it has one), and its geometry."""
    data = _bytes(path)
    try:
        if data[:2] == b"\x1f\x8b":
            data = _gunzip(data)
        kind = nib.Nifti2Image if data[:4] in NIFTI2 else nib.Nifti1Image
        image = _nifti(kind.from_bytes(data), path)
        geometry = _geometry(image, path)
        proxy: Any = image.dataobj
        scaled = (proxy.slope, proxy.inter) != (1.0, 0.0)
        array = np.asarray(proxy, dtype=np.float32) if scaled else _in_place(proxy, data)
    except DAMAGED as error:
        raise _unreadable(path, error) from None
    return np.asarray(array), geometry


def _in_place(proxy: Any, data: bytes) -> AnyArray:
    """The voxels where they lie in the file's content, not copied; read-only."""
    missing = int(proxy.offset) + int(np.prod(proxy.shape)) * proxy.dtype.itemsize - len(data)
    if missing > 0:
        raise EOFError(f"{missing} bytes are missing at the end")
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
        units=header.get_xyzt_units(),
    )


def _rows(matrix: AnyArray) -> Matrix:
    return tuple(tuple(float(value) for value in row) for row in matrix)


def _check_finite(array: AnyArray | FloatArray, path: Path | None) -> None:
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise UserError(
            f"{bad} voxels are NaN or infinite", where=path, remedy="export the volume again, or replace these voxels"
        )


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if not data:
        raise UserError("the file is empty", where=path, remedy="replace the file by a whole copy")
    return data


def _missing(path: Path) -> UserError:
    return UserError("the file is missing", where=path, remedy="check the path and its spelling")


def _unreadable(path: Path, error: Exception) -> UserError:
    told = getattr(error, "strerror", None) or str(error) or type(error).__name__
    reason = told.splitlines()[0]
    return UserError(f"cannot be read: {reason}", where=path, remedy="replace the file by a whole, valid copy")
