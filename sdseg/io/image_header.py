"""What the header of an image promises: its size, its pages, and how its pixels are written."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, JpegImagePlugin, TiffImagePlugin

__all__ = ["ImageHeader", "read_image_header"]

PNG, JPEG, BMP, TIFF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"BM", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WIDTH, HEIGHT, BITS, NUMBERS = 256, 257, 258, 339  # tags of TIFF
FLOATING, COMPLEX = 3, (5, 6)  # values of NUMBERS
DAMAGED = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError),
    *(struct.error, Image.DecompressionBombError, RuntimeError),  # what Pillow raises
)


@dataclass(frozen=True)
class ImageHeader:
    """What a decoder would have to make room for."""

    width: int
    height: int
    pages: int = 1
    bits: int = 8  # of a value
    floating: bool = False

    @property
    def depth(self) -> str:
        """The values of a pixel in words."""
        return f"{self.bits}-bit {'floating-point' if self.floating else 'whole'} numbers"


def read_image_header(stream: BinaryIO) -> ImageHeader | None:
    """The header of a PNG, JPEG, TIFF or BMP file, of other formats their size; None where it cannot be told."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is odd elsewhere in a header; large images are welcome
            return _read(stream)
    except DAMAGED:
        return None


def _read(stream: BinaryIO) -> ImageHeader:
    head = stream.read(32)
    stream.seek(0)
    if head.startswith(PNG):
        width, height, bits = struct.unpack(">IIB", head[16:25])
        return ImageHeader(width, height, bits=bits)
    if head.startswith(TIFF):
        return _tiff(list(_directories(stream)))
    if head.startswith(BMP):
        old = struct.unpack("<I", head[14:18])[0] == 12
        width, height = struct.unpack("<HH" if old else "<ii", head[18 : 22 if old else 26])
        return ImageHeader(abs(width), abs(height))  # a negative height means rows from the top
    if head.startswith(JPEG):
        return ImageHeader(*JpegImagePlugin.JpegImageFile(stream).size)
    with Image.open(stream) as image:
        return ImageHeader(*image.size)


def _directories(stream: BinaryIO) -> Iterator[dict[int, tuple[int, ...]]]:
    """The tags of each page that tell its size and numbers; a file whose pages lead in a circle has each but once."""
    head = stream.read(8)
    if head[2] == 43 or head[3] == 43:  # BigTIFF
        head += stream.read(8)
    directory, visited = TiffImagePlugin.ImageFileDirectory_v2(head), set[int]()
    while directory.next and directory.next not in visited:
        visited.add(directory.next)
        stream.seek(directory.next)
        directory.load(stream)
        values = {tag: directory[tag] for tag in (WIDTH, HEIGHT, BITS, NUMBERS) if tag in directory}
        yield {tag: tuple(value) if isinstance(value, tuple) else (int(value),) for tag, value in values.items()}


def _tiff(pages: list[dict[int, tuple[int, ...]]]) -> ImageHeader:
    first = pages[0]
    numbers = first.get(NUMBERS, (1,))
    return ImageHeader(
        width=max(page[WIDTH][0] for page in pages),
        height=max(page[HEIGHT][0] for page in pages),
        pages=len(pages),
        bits=max(first.get(BITS, (1,))),
        floating=FLOATING in numbers or any(kind in numbers for kind in COMPLEX),
    )
