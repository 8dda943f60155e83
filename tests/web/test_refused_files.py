"""Hostile and broken files: the page refuses each with one message, before it takes memory for it."""

from __future__ import annotations

import gzip
import re
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from sdseg.core.array_types import AnyArray
from tests.helpers.page_readers import read_as_the_page
from tests.helpers.raw_files import LPS, save, write_series

DIM, VOX_OFFSET, SROW = 40, 108, 280


def _nifti(
    path: Path, *changes: tuple[int, str, object], voxels: AnyArray | None = None, affine: AnyArray = LPS
) -> Path:
    save(path, np.zeros((4, 3, 2), np.int16) if voxels is None else voxels, affine)
    data = bytearray(path.read_bytes())
    for place, kind, value in changes:
        struct.pack_into(kind, data, place, *(value if isinstance(value, tuple) else (value,)))
    path.write_bytes(data)
    return path


def _png(path: Path, width: int, height: int, rows: bytes) -> Path:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return path


def _zip(path: Path, content: bytes, *, said: int | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scan.nii", content)
    if said is not None:  # a zip that says something else than it holds
        data = bytearray(path.read_bytes())
        struct.pack_into("<I", data, data.rindex(b"PK\x01\x02") + 24, said)
        path.write_bytes(data)
    return path


def _files(folder: Path) -> dict[str, tuple[list[Path], str]]:
    """By case: files, and what the message should say."""

    def text(name: str, content: bytes = b"not what my name says\n" * 40) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    nothing = bytes(4_000_000)
    whole = _nifti(folder / "whole.nii").read_bytes()
    series = write_series(folder / "series", np.zeros((4, 3, 4), np.int16))
    first, second, third, last = sorted(series.iterdir())
    plan = pydicom.dcmread(first)
    plan.Modality, plan.SeriesInstanceUID = "RTPLAN", "1.2.3"
    del plan.PixelData
    plan.save_as(folder / "plan.dcm")
    bare = pydicom.dcmread(second)
    del bare.PixelData
    bare.save_as(folder / "bare.dcm")
    table = pydicom.dcmread(second)
    table.ModalityLUTSequence = [pydicom.Dataset()]
    table.save_as(folder / "table.dcm")
    Image.new("RGB", (40, 30)).save(folder / "packed.tif", compression="jpeg")
    Image.new("F", (40, 30)).save(folder / "float.tif")
    Image.new("L", (4, 3)).save(folder / "pages.tif", save_all=True, append_images=[Image.new("L", (4, 3))])
    Image.new("RGB", (40, 30)).save(folder / "whole.png")
    huge = _nifti(folder / "huge.nii", (DIM + 2, "<hhh", (16384, 16384, 4096)))
    return {
        "a header of 2^40 voxels": ([huge], "16384×16384×4096 voxels by its header"),
        "the same, packed": ([text("huge.nii.gz", gzip.compress(huge.read_bytes()))], "voxels by its header"),
        "text named .nii": ([text("text.nii")], "'text.nii' cannot be read: not a NIfTI file"),
        "text named .nii.gz": ([text("text.nii.gz")], "not a NIfTI file"),
        "text named .png": ([text("text.png")], "not a PNG, JPEG, TIFF or BMP"),
        "text named .dcm": ([text("text.dcm")], "not a DICOM file"),
        "text": ([text("text.txt")], "is no image or volume that is read here"),
        "NRRD": ([text("x.nrrd")], "is a MetaImage or NRRD"),
        "nothing": ([text("empty.nii", b"")], "'empty.nii' is empty"),
        "truncated": ([text("cut.nii", whole[:-5])], "5 bytes are missing at the end"),
        "truncated and packed": ([text("cut.nii.gz", gzip.compress(whole)[:-30])], "cannot be read"),
        "half a header": ([text("half.nii", whole[:347])], "cannot be read"),
        "a bomb": ([text("bomb.nii.gz", gzip.compress(nothing))], "not a NIfTI file"),
        "four axes": ([_nifti(folder / "four.nii", voxels=np.zeros((2, 2, 2, 2), np.int16))], "a 4-D volume of shape"),
        "no voxels": ([_nifti(folder / "none.nii", (DIM + 2, "<h", 0))], "an empty volume"),
        "a NaN in the affine": ([_nifti(folder / "nan.nii", (SROW, "<f", np.nan))], "is NaN or infinite"),
        "a flat affine": (
            [_nifti(folder / "flat.nii", (SROW, "<4f", (0, 0, 0, 0)))],
            "0 mm apart",
        ),
        "voxels in the header": ([_nifti(folder / "offset.nii", (VOX_OFFSET, "<f", 8.0))], "within the header"),
        "complex voxels": (
            [_nifti(folder / "complex.nii", voxels=np.zeros((2, 2, 2), np.complex64))],
            "voxels of complex numbers",
        ),
        "a NaN voxel": (
            [_nifti(folder / "nan voxel.nii", voxels=np.full((2, 2, 2), np.nan, np.float32))],
            "8 voxels that are NaN or infinite",
        ),
        "a huge picture": ([_png(folder / "huge.png", 30_000, 30_000, b"")], "30000×30000 pixels by its header"),
        "a picture that is a bomb": ([_png(folder / "bomb.png", 10, 10, bytes(3_000_000))], ""),
        "a picture cut short": ([text("cut.png", (folder / "whole.png").read_bytes()[:60])], "cannot be read"),
        "an unknown packing": ([folder / "packed.tif"], "TIFF of a kind|packed in a way"),
        "fractions": ([folder / "float.tif"], "32-bit floating-point numbers"),
        "pages": ([folder / "pages.tif"], "TIFF of 2 pages"),
        "a zip that is a bomb": (
            [_zip(folder / "all.zip", b"", said=1_080_000_000)],
            "unpacks to 1,080,000,000",
        ),
        "a zip that lies": ([_zip(folder / "lies.zip", nothing, said=400)], "not a NIfTI file"),
        "no zip": ([text("cut.zip", b"PK\3\4" + bytes(100))], "a zip without its list of contents"),
        "a gap": ([first, second, last], "slices are missing between"),
        "one slice": ([first], "a volume has at least two"),
        "doubles": ([first, second, _copy(second, folder / "again.dcm"), third], "lie at the same place"),
        "a slice without pixels": ([first, folder / "bare.dcm", third], "bytes of their pixels are missing"),
        "units by a table": ([first, folder / "table.dcm", third], "gives its units by a table"),
        "a plan alone": ([folder / "plan.dcm"], "RTPLAN, not images of a patient"),
        "a truncated slice": ([first, text("cut.dcm", second.read_bytes()[:-7]), third], "7 bytes of their pixels"),
        "a slice of another size": ([first, second, *_small(folder)], "differ from the others in size"),
    }


def _copy(path: Path, target: Path) -> Path:
    target.write_bytes(path.read_bytes())
    return target


def _small(folder: Path) -> list[Path]:
    """A slice of the same series, of fewer pixels."""
    return sorted(write_series(folder / "small", np.zeros((2, 2, 1), np.int16)).iterdir())


def test_each_is_refused_in_one_message(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    cases = _files(folder)
    results = read_as_the_page({name: files for name, (files, _) in cases.items()}, tmp_path / "read")
    wrong = []
    for name, (_, wanted) in cases.items():
        result = results[name]
        if not wanted and "inputs" in result:  # read as far as its header goes
            continue
        if "what" not in result or not re.search(wanted, result["what"]) or not result["remedy"]:
            wrong.append(f"{name}: {result}")
    assert not wrong, "\n".join(wrong)
