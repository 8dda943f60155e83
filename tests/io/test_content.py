"""What is no ordinary file is told, never waited for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sdseg.core.errors import UserError
from sdseg.io.content import content_of, file_size
from sdseg.io.images import pixels_of, read_image
from sdseg.io.volumes import read_geometry, read_labels, read_volume


@pytest.fixture
def strange(tmp_path: Path) -> dict[str, str]:
    """Names without suffix, and what is said of them."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(tmp_path / "socket"))
    return {
        "pipe": "a named pipe; an ordinary file is expected",
        "zero": "a device; an ordinary file is expected",
        "circle": "cannot be read: Too many levels of symbolic links",
        "nowhere": "the file is missing",
        "socket": "a socket; an ordinary file is expected",
    }


def test_strange_files_are_told_by_every_reader(tmp_path: Path, strange: dict[str, str]) -> None:
    readers = {
        "png": (content_of, file_size, read_image),
        "nii.gz": (read_volume, read_labels, read_geometry),
        "mha": (read_volume,),
        "nrrd": (read_volume,),
    }
    for suffix, several in readers.items():
        for name, message in strange.items():
            path = (tmp_path / name).rename(tmp_path / f"{name}.{suffix}") if name != "circle" else tmp_path / "circle"
            if name == "circle":
                path = tmp_path / f"circle.{suffix}"
                path.symlink_to(path)
            for read in several:
                with pytest.raises(UserError, match=message) as caught:
                    read(path)
                assert path.name in str(caught.value)
            assert suffix != "png" or pixels_of(path) == 0
            if name != "circle":
                path.rename(tmp_path / name)


def test_a_header_is_not_led_to_them(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "v.raw")
    head = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_SHORT\nElementDataFile = v.raw\n"
    (tmp_path / "v.mhd").write_text(head)
    with pytest.raises(UserError, match=r"(?s)a named pipe.*v\.raw"):
        read_volume(tmp_path / "v.mhd")
