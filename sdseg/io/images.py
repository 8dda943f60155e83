"""Image files to RGB arrays and back: PNG, JPEG, TIFF and BMP, through OpenCV.

Images come back with the orientation tag of the camera applied; transparency is dropped, 16 bits become 8.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.core.files import atomic_file
from sdseg.io.content import content_of, file_size, unreadable
from sdseg.io.image_header import ImageHeader, read_image_header
from sdseg.io.limits import LIMITS, Limits

__all__ = [
    "IMAGE_SUFFIXES",
    "is_image",
    "pixels_of",
    "read_image",
    "read_image_noted",
    "read_mask",
    "size_in_header",
    "write_image",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
Pixels = npt.NDArray[np.uint8]


def is_image(path: Path) -> bool:
    """Whether the name is one of an image this package reads."""
    return path.name.lower().endswith(IMAGE_SUFFIXES)


def pixels_of(path: Path) -> int:
    """How many pixels an image has, by its header alone; 0 where that cannot be told."""
    size = size_in_header(path)
    return size[0] * size[1] if size else 0


def size_in_header(path: Path) -> tuple[int, int] | None:
    """Height and width of an image by its header alone, before a camera's turn; None where that does not tell."""
    try:
        file_size(path)  # a named pipe would wait for ever
        with path.open("rb") as stream:
            header = read_image_header(stream)
    except (OSError, UserError):
        return None
    return (header.height, header.width) if header else None


def read_image(path: Path, limits: Limits = LIMITS) -> Pixels:
    """An image as RGB, [H,W,3] uint8.

    Grey becomes three equal channels, transparency is dropped, 16-bit values are divided by 257, and the camera's
    orientation tag is applied. Raises UserError for a file that is missing, truncated, larger than `limits`, of several
    pages or not 8 or 16 bits deep.
    """
    return read_image_noted(path, limits)[0]


def read_image_noted(path: Path, limits: Limits = LIMITS) -> tuple[Pixels, tuple[str, ...]]:
    """What `read_image` gives, and what is odd about its values, in words.

    Cameras of 10 or 12 bits are often saved within 16 bits, with or without an offset: such an image turns out all but
    black, or in one flat tone.
    """
    pixels = _decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, limits)
    notes: tuple[str, ...] = ()
    if pixels.dtype == np.uint16:
        notes = _narrow_range(pixels)
        pixels = np.rint(pixels / 257.0).astype(np.uint8)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8), notes


def read_mask(path: Path, limits: Limits = LIMITS, *, deep: bool = False) -> AnyArray:
    """A mask image as grey levels, [H,W] uint8, as they are in the file (16-bit levels above 255 divided by 257).

    With `deep` the levels of 16 bits are left alone, [H,W] uint16: numbers of objects, not shades.
    """
    pixels = _decode(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH, limits)
    if deep:
        return pixels
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
    encoded, data = cv2.imencode(path.suffix, ordered)
    if not encoded:
        raise ValueError(f"cannot encode pixels {pixels.dtype} {pixels.shape}")
    with atomic_file(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _decode(path: Path, flags: int, limits: Limits) -> AnyArray:
    data = content_of(path)
    header = read_image_header(BytesIO(data))
    if header is not None:
        _check_header(header, path, limits)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # OpenCV's own messages name no file
    try:
        pages = _decode_pages(data, flags) if data[:2] in (b"II", b"MM") else [cv2.imdecode(_view(data), flags)]
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in str(error):
            raise UserError(
                "more than 2^30 pixels, or than 2^20 along a side", where=path, remedy="reduce it, or cut it into tiles"
            ) from None
        raise unreadable(path, error) from None
    if not pages or pages[0] is None or (data[:2] == b"\xff\xd8" and not _jpeg_ends(data)):
        raise UserError(
            "not a readable image: truncated, damaged or of another format",
            where=path,
            remedy="replace the file by a whole copy (PNG, JPEG, TIFF or BMP of 8 or 16 bits)",
        )
    if len(pages) > 1:
        raise _several_pages(len(pages), path)
    if pages[0].dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"pixels of type {pages[0].dtype}; 8 or 16 bits are expected", where=path, remedy="save it with 8 bits"
        )
    return np.asarray(pages[0])


def _check_header(header: ImageHeader, path: Path, limits: Limits) -> None:
    """Refuse what the header tells to be of no use, before a decoder makes room for it."""
    if header.pages > 1:
        raise _several_pages(header.pages, path)
    if header.floating or header.bits > 16:
        raise UserError(
            f"pixels of {header.depth}; 8 or 16 bits are expected, of which 255 or 65535 is white",
            where=path,
            remedy="save it with 8 bits, its values brought to 0 to 255 as for the images the model was trained on",
        )
    limits.check_image(header.width, header.height, path, 6 if header.bits > 8 else 3)


def _several_pages(count: int, path: Path) -> UserError:
    return UserError(
        f"a TIFF of {count} pages; one image is expected", where=path, remedy="save each page as its own file"
    )


def _narrow_range(pixels: AnyArray) -> tuple[str, ...]:
    low, high = int(pixels.min()), int(pixels.max())
    if not 0 < high - low < 4096:
        return ()
    return (
        f"16 bits of which only the values {low} to {high} are used: the image is all but black or flat; "
        "save it with 8 bits, or spread over 0 to 65535",
    )


def _decode_pages(data: bytes, flags: int) -> list[AnyArray]:
    decoded, pages = cv2.imdecodemulti(_view(data), flags)
    return list(pages) if decoded else []


def _view(data: bytes) -> Pixels:
    return np.frombuffer(data, dtype=np.uint8)


def _jpeg_ends(data: bytes) -> bool:
    """Whether the pixel data of a JPEG is closed by its end marker; decoders fill a missing rest with grey."""
    return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
