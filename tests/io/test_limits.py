"""Files whose headers promise more than there is, or than any memory holds: refused before room is made for them."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image

from sdseg.core.errors import UserError
from sdseg.io import limits as module
from sdseg.io.content import content_of
from sdseg.io.images import read_image, read_mask
from sdseg.io.limits import LIMITS, Limits, asked_limits, available_memory, check_memory
from sdseg.io.volumes import read_labels, read_volume
from tests.helpers.raw_files import encode, save, write_series

SMALL = Limits(pixels=99, voxels=99)
PEAK = """
import resource, sys
from pathlib import Path
from sdseg.io.images import read_image
from sdseg.io.volumes import read_volume
from sdseg.core.errors import UserError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[1:]:
    path = Path(name)
    try:
        (read_image if path.suffix in (".png", ".tif") else read_volume)(path)
        print("read", name)
    except UserError as error:
        print(error.what)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def huge_nifti(path: Path, shape: tuple[int, int, int], content: int) -> Path:
    """A header that promises `shape`, and that many bytes of zeros, compressed."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_sform(np.eye(4), code=1)
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(header.binaryblock + b"\0" * 4)
        for _ in range(content >> 20):
            stream.write(bytes(1 << 20))
    return path


def huge_series(folder: Path) -> Path:
    write_series(folder, np.zeros((4, 4, 3), np.int16))
    for path in folder.iterdir():
        found = pydicom.dcmread(path)
        found.Rows = found.Columns = 65535
        found.save_as(path)
    return folder


def test_little_memory_is_taken_for_great_promises(tmp_path: Path) -> None:
    Image.new("1", (30000, 30000)).save(tmp_path / "large.png")
    (tmp_path / "volume.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 9999 9999 999\nElementType = MET_SHORT\nElementDataFile = v.raw\n"
    )
    (tmp_path / "v.raw").write_bytes(b"1234")
    paths = [
        tmp_path / "large.png",
        huge_nifti(tmp_path / "large.nii.gz", (2000, 2000, 1000), 300 << 20),
        huge_nifti(tmp_path / "more.nii.gz", (4, 4, 4), 300 << 20),
        tmp_path / "volume.mhd",
        huge_series(tmp_path / "series"),
    ]
    done = subprocess.run([sys.executable, "-c", PEAK, *paths], capture_output=True, encoding="utf-8", check=True)
    *told, peak = done.stdout.splitlines()
    bytes_in_all = 2 * 65535**2 - 2 * 4 * 4 - 8  # the element's own head of 8 bytes counts as there
    assert [line.split(";")[0] for line in told] == [
        "30000×30000 pixels by its header, 900,000,000 in all",
        "2000×2000×1000 voxels by its header, 4,000,000,000 in all",
        f"read {paths[2]}",
        "9999×9999×999 voxels by its header, 99,880,020,999 in all",
        "truncated, or with a wrong header: it promises 65535 rows and 65535 columns, "
        f"and {bytes_in_all:,} bytes of their pixels are missing",
    ]
    assert int(peak) < 150_000  # kB; any one of them took gigabytes


def test_the_limits_are_the_users_to_set(tmp_path: Path) -> None:
    image = encode(tmp_path / "a.png", np.zeros((10, 10, 3), np.uint8))
    volume = save(tmp_path / "a.nii.gz", np.zeros((4, 5, 6), np.int16))
    SimpleITK.WriteImage(SimpleITK.Image([4, 5, 6], SimpleITK.sitkInt16), str(tmp_path / "a.mha"))
    series = write_series(tmp_path / "s", np.zeros((4, 5, 6), np.int16))
    for read in (read_image, read_mask):
        with pytest.raises(
            UserError, match=r"(?s)10×10 pixels by its header.*at most 99.*a\.png.*--max-pixels of 'pre"
        ):
            read(image, SMALL)
        read(image, Limits(pixels=100))
    for path in (volume, tmp_path / "a.mha", series):
        with pytest.raises(UserError, match=r"(?s)4×5×6 voxels by its header, 120 .*'max_voxels' of a dataset"):
            read_volume(path, SMALL)
        assert read_volume(path, SMALL.at_least(120))[0].shape == (4, 5, 6)
    with pytest.raises(UserError, match="4×5×6 voxels"):
        read_labels(volume, SMALL)
    assert asked_limits(None, 7) == Limits(LIMITS.pixels, 7)
    with pytest.raises(UserError, match=r"(?s)at most 0 pixels.*max_pixels"):
        asked_limits(0, None)


def test_more_than_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = available_memory()
    assert free is not None
    assert free > 1 << 28
    monkeypatch.setattr(module, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(module, "CGROUP", tmp_path)
    assert available_memory() is None
    check_memory(1 << 60, tmp_path)
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   3000 kB\n")
    assert available_memory() == 3072000
    for name, text in (("memory.max", "4000000"), ("memory.current", "3000000"), ("memory.stat", "anon 1\nfile 9\n")):
        (tmp_path / name).write_text(text)
    assert available_memory() == 1000000
    (tmp_path / "memory.stat").write_text("inactive_file 500000\n")
    assert available_memory() == 1500000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() == 3072000
    path = save(tmp_path / "a.nii.gz", np.zeros((100, 100, 100), np.int16))
    with pytest.raises(UserError, match=r"(?s)takes about 0\.0 GB of memory, and 0\.0 GB are free.*a\.nii\.gz"):
        read_volume(path)
    sparse = tmp_path / "sparse.png"
    with sparse.open("wb") as stream:
        os.truncate(stream.fileno(), 1 << 40)
    with pytest.raises(UserError, match=r"takes about 1099\.5 GB of memory"):
        content_of(sparse)


def test_headers_of_tiff(tmp_path: Path) -> None:
    def tiff(bits: int, numbers: int, *, circle: bool = False) -> Path:
        """A page of 2 × 2 pixels, its directory at byte 8."""
        tags = (
            (256, 2),
            (257, 2),
            (258, bits),
            (259, 1),
            (262, 1),
            (273, 200),
            (277, 1),
            (278, 2),
            (279, 99),
            (339, numbers),
        )
        entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
        directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 8 if circle else 0)
        (tmp_path / "a.tif").write_bytes((b"II*\0" + struct.pack("<I", 8) + directory).ljust(400, b"\0"))
        return tmp_path / "a.tif"

    for bits, numbers, message in (
        (32, 1, "pixels of 32-bit whole numbers"),
        (32, 3, "pixels of 32-bit floating-point numbers"),
        (64, 3, "pixels of 64-bit floating-point numbers"),
        (16, 3, "pixels of 16-bit floating-point numbers"),
    ):
        for read in (read_image, read_mask):
            with pytest.raises(UserError, match=rf"{message}; 8 or 16 bits are expected"):
                read(tiff(bits, numbers))
    assert read_image(tiff(8, 1, circle=True)).shape == (2, 2, 3)
