"""Headers that name their data file: one beside them, and no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from sdseg.core.errors import UserError
from sdseg.io.itk_header import check_header, named_files
from sdseg.io.volumes import read_volume

META = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\n"
NRRD = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in é"
    made.mkdir()
    (tmp_path / "secret").write_bytes(bytes(range(100, 108)))
    (made / "x.raw").write_bytes(bytes(range(8)))
    for number in (1, 2):
        (made / f"x{number}.raw").write_bytes(bytes(range(4 * number - 4, 4 * number)))
    return made


@pytest.mark.parametrize("where", ["/etc/passwd", "../secret", "./../secret", "sub/x.raw", "..", "../secret%d 1 1 1"])
def test_no_way_out_of_the_folder(folder: Path, where: str) -> None:
    headers = {
        "a.mhd": [f"ElementDataFile = {where}\n", f"ElementDataFile: {where}\n", f"  ElementDataFile ={where}\r\n"],
        "a.mha": [f"ElementDataFile = LIST\nx1.raw\n{where}\n"],
        "a.nhdr": [f"data file: {where}\n\n", f"datafile: {where}\n\n", f"Data File:{where}\n\n"],
        "a.nrrd": [f"data file: LIST\nx1.raw\n{where}\n", f"data file: x.raw\ndata file: {where}\n\n"],
    }
    for name, ends in headers.items():
        for end in ends:
            (folder / name).write_text((META if name.startswith("a.m") else NRRD) + end)
            with pytest.raises(UserError, match=rf"(?s)only a file beside it is read.*{name}.*beside the header"):
                read_volume(folder / name)


def test_a_header_that_is_never_done_is_refused(folder: Path) -> None:
    padding = "Comment = NDims ElementDataFile\n" * 40000
    (folder / "a.mhd").write_text(META + padding + "ElementDataFile = /etc/passwd\n")
    (folder / "a.nhdr").write_text(NRRD + "# padding\n" * 120000 + "data file: /etc/passwd\n\n")
    for name in ("a.mhd", "a.nhdr"):
        with pytest.raises(UserError, match="only behind its first megabyte"):
            read_volume(folder / name)


@pytest.mark.parametrize(
    ("name", "header", "files"),
    [
        ("a.mhd", META + "ElementDataFile = x.raw\n", ["x.raw"]),
        ("a.mhd", META + "ElementDataFile = ./x.raw\n", ["x.raw"]),
        ("a.mhd", META + "ElementDataFile = x%d.raw 1 2 1\n", ["x1.raw", "x2.raw"]),
        ("a.mhd", META + "ElementDataFile = LIST\nx1.raw\nx2.raw\n", ["x1.raw", "x2.raw"]),
        ("a.nhdr", NRRD + "data file: ./x.raw\n\n", ["x.raw"]),
        ("a.nhdr", NRRD + "data file: LIST\nx1.raw\nx2.raw\n", ["x1.raw", "x2.raw"]),
        ("a.nhdr", NRRD + "data file: x%d.raw 1 2 1\n\n", ["x1.raw", "x2.raw"]),
    ],
)
def test_files_beside_the_header_are_read(folder: Path, name: str, header: str, files: list[str]) -> None:
    (folder / name).write_text(header)
    found = named_files(folder / name, nrrd=name == "a.nhdr")
    assert [path.name for path in found] == files
    canonical, geometry = read_volume(folder / name)
    raw = geometry.to_native(canonical)
    np.testing.assert_array_equal(raw.transpose(2, 1, 0).ravel(), range(8))
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / name)))
    np.testing.assert_array_equal(raw.transpose(2, 1, 0), theirs)


@pytest.mark.parametrize("spacing", ["-1 1 1", "0 1 1", "one 1 1"])
def test_spacings_of_nothing_or_less(folder: Path, spacing: str) -> None:
    (folder / "a.mhd").write_text(f"{META}ElementSpacing = {spacing}\nElementDataFile = x.raw\n")
    (folder / "a.nhdr").write_text(f"{NRRD}spacings: {spacing}\ndata file: x.raw\n\n")
    for name in ("a.mhd", "a.nhdr"):
        with pytest.raises(UserError, match=f"the spacing '{spacing}' in its header; lengths above 0"):
            read_volume(folder / name)


def test_names_that_are_no_text_are_not_quoted(folder: Path) -> None:
    (folder / "a.mhd").write_bytes(META.encode() + b"ElementDataFile = LIST\n" + bytes(128))
    with pytest.raises(UserError, match=r"(?s)in bytes that are no text.*a\.mhd"):
        check_header(folder / "a.mhd", nrrd=False)
