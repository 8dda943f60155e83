"""ONNX files: where their external weights lie, and their metadata, read without loading any weights.

An ONNX file is one protobuf message, ModelProto, whose field 14 holds a message of key and value for each metadata
value (onnx.proto; wire format: protobuf.dev/programming-guides/encoding). `onnx.load` would read more than a gigabyte
of weights to get there.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from sdseg.backends.graph import missing_graph, unusable

__all__ = ["METADATA_KEY", "find_metadata", "read_metadata", "weights_beside"]

METADATA_KEY = "sdseg"  # the metadata value that holds a graph's GraphManifest
METADATA_PROPS, KEY, VALUE = 14, 1, 2  # numbers of fields
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types


def weights_beside(path: Path) -> Path:
    """Where the external weights of a graph lie, if it has any: `model.onnx` -> `model.onnx.data`."""
    return path.with_name(f"{path.name}.data")


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata values of an ONNX file by key. Raises UserError for a file that is missing, cut off or no ONNX."""
    return {key: value.decode("utf-8") for key, (_, value) in _metadata(path).items()}


def find_metadata(path: Path, key: str) -> tuple[int, bytes]:
    """Where in the file a metadata value begins, and its bytes. Raises UserError as above, KeyError for another key."""
    return _metadata(path)[key]


def _metadata(path: Path) -> dict[str, tuple[int, bytes]]:
    """Place in the file and bytes (UTF-8) of every metadata value, by key."""
    if not path.is_file():
        raise missing_graph(path)
    metadata = {}
    with path.open("rb") as stream:
        try:
            for number, place, length in _fields(stream, path.stat().st_size):
                if number == METADATA_PROPS:
                    stream.seek(place)
                    message = stream.read(length)
                    parts = {
                        part: (place + start, message[start : start + size])
                        for part, start, size in _fields(BytesIO(message), length)
                    }
                    value = parts.get(VALUE, (place, b""))
                    value[1].decode("utf-8")
                    metadata[parts.get(KEY, (place, b""))[1].decode("utf-8")] = value
        except ValueError as error:  # UnicodeDecodeError among them
            raise unusable(f"{error}", path) from None
    return metadata


def _fields(stream: BinaryIO, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, position and length of every field of a message that goes up to `end`; what is in them is skipped."""
    place = 0
    while place < end:
        stream.seek(place)
        tag = _varint(stream)
        number, kind = tag >> 3, tag & 7
        if kind == BYTES:
            length = _varint(stream)
        elif kind == VARINT:
            _varint(stream)
            length = 0
        elif kind in (FIXED32, FIXED64):
            length = 4 if kind == FIXED32 else 8
        else:
            raise ValueError("it is no protobuf message")
        place = stream.tell()
        if number == 0 or place + length > end:
            raise ValueError("it is cut off, or no protobuf message")
        yield number, place, length
        place += length


def _varint(stream: BinaryIO) -> int:
    """A number of 7 bits per byte, lowest first."""
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            raise ValueError("it is cut off")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("it is no protobuf message")
