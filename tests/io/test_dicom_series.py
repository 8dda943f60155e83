"""DICOM files of a folder told apart: series, localisers, reports, damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sdseg.core.array_types import AnyArray
from sdseg.inference.find_inputs import find_inputs
from sdseg.io.dicom_header import is_dicom
from sdseg.io.dicom_series import find_series
from tests.helpers.raw_files import write_series

UID = "1.2.826.0.1.3680043.2.1125."
SLICES: AnyArray = np.zeros((6, 5, 3), np.int16)


def names(prefix: str, count: int = 3) -> list[str]:
    return [f"{prefix}{number}.dcm" for number in range(count)]


def tagged(folder: Path, prefix: str, number: int, **tags: str) -> Path:
    own = {"t0020_000e": f"{UID}{number}", "t0020_0011": str(number), **tags}
    return write_series(folder, SLICES, names=names(prefix), **own)


def test_several_series_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "patient é"
    tagged(folder, "a", 12)
    tagged(folder, "b", 2)
    found = find_series(sorted(folder.iterdir()))
    assert [one.number for one in found.series] == ["2", "12"]
    assert [[file.name for file in one.files] for one in found.series] == [names("b"), names("a")]
    assert (found.skipped, found.problems) == ((), ())
    inputs = find_inputs([tmp_path], tmp_path / "out").inputs
    assert [one.name for one in inputs] == ["patient é_series2", "patient é_series12"]
    assert {one.kind for one in inputs} == {"series"}


def test_a_localiser_is_left_out(tmp_path: Path) -> None:
    folder = tagged(tmp_path / "s", "ct", 2)
    tagged(folder, "scout", 1, t0008_0008="ORIGINAL\\PRIMARY\\LOCALIZER")
    found = find_series(sorted(folder.iterdir()))
    assert [one.number for one in found.series] == ["2"]
    ((path, reason),) = found.skipped
    assert path.name == "scout0.dcm"
    assert "a localiser" in reason
    assert [one.name for one in find_inputs([folder], tmp_path / "out").inputs] == ["s"]


def test_a_localiser_within_the_series_is_left_out_of_it(tmp_path: Path) -> None:
    folder = tagged(tmp_path / "s", "ct", 2)
    scout = {"t0020_000e": f"{UID}2", "t0008_0008": "ORIGINAL\\PRIMARY\\LOCALIZER"}
    write_series(folder, SLICES[:, :, :1], names=["scout.dcm"], **scout)
    (one,) = find_series(sorted(folder.iterdir())).series
    assert [file.name for file in one.files] == names("ct")
    assert one.notes == ("left out, a localiser: scout.dcm",)


def test_reports_and_segmentations_are_left_out(tmp_path: Path) -> None:
    folder = tagged(tmp_path / "s", "ct", 2)
    tagged(folder, "seg", 3, t0008_0060="SEG")
    found = find_series(sorted(folder.iterdir()))
    assert [one.number for one in found.series] == ["2"]
    assert ["SEG" in reason for _, reason in found.skipped] == [True]


def test_a_damaged_file_is_named_and_noted(tmp_path: Path) -> None:
    folder = tagged(tmp_path / "s", "ct", 2)
    (folder / "x.dcm").write_text("a letter")
    found = find_series(sorted(folder.iterdir()))
    assert [(problem.what, problem.where) for problem in found.problems] == [
        ("cannot be read: not a DICOM file", folder / "x.dcm")
    ]
    assert "may be one of its slices" in found.series[0].notes[0]


def test_any_damage_of_a_header_is_told(tmp_path: Path) -> None:
    folder = tagged(tmp_path / "s", "ct", 2)
    whole = (folder / "ct0.dcm").read_bytes()
    ends, lengths = range(140, 700, 7), range(136, 700, 11)
    damaged = [whole[:end] for end in ends] + [whole[:at] + b"\xff\xff\xff\x7f" + whole[at + 4 :] for at in lengths]
    refused = 0
    for content in damaged:
        (folder / "ct0.dcm").write_bytes(content)
        found = find_series(sorted(folder.iterdir()))
        refused += bool(found.problems)
        told = sum(len(one.files) for one in found.series) + len(found.problems) + len(found.skipped)
        assert told >= 3 or any("3 file(s)" in problem.what for problem in found.problems)  # refused as one series
    assert refused > len(damaged) / 4


def test_files_named_one_by_one_are_one_series(tmp_path: Path) -> None:
    folder = tagged(tmp_path / "s", "ct", 2)
    for named in ([*sorted(folder.iterdir())], [folder / "*.dcm"]):
        (one,) = find_inputs(named, tmp_path / "out").inputs
        assert (one.kind, one.path, one.name, len(one.files)) == ("series", folder, "s", 3)


def test_what_is_dicom(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", SLICES, names=["IM0", "IM1", "IM2"])
    (folder / "DICOMDIR").write_bytes((folder / "IM0").read_bytes())
    (folder / "note").write_text("a note")
    assert [path.name for path in sorted(folder.iterdir()) if is_dicom(path)] == ["IM0", "IM1", "IM2"]
    assert not is_dicom(tmp_path / "missing")
