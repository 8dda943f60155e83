"""What a user names becomes a list of files with names for their results."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdseg.data.inputs import _unique, find_inputs
from sdseg.errors import UserError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_files_keep_their_order(tmp_path: Path) -> None:
    paths = [tmp_path / "b c.PNG", tmp_path / "ä.nii.gz", tmp_path / "a.jpeg", tmp_path / "v.nii"]
    touch(*paths)
    found = find_inputs(paths, tmp_path / "out")
    assert found.problems == []
    assert [(file.path, file.name, file.kind) for file in found.inputs] == [
        (paths[0], "b c", "image"),
        (paths[1], "ä", "volume"),
        (paths[2], "a", "image"),
        (paths[3], "v", "volume"),
    ]


def test_a_folder_keeps_its_subfolders(tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "scans" / "masks"
    touch(scans / "b.png", scans / "a" / "c.tif", scans / "read me.txt", scans / "._b.png", out / "b_mask.png")
    found = find_inputs([scans, scans / "b.png"], out)
    assert found.problems == []
    assert [file.name for file in found.inputs] == ["a/c", "b"]


def test_one_name_each(tmp_path: Path) -> None:
    paths = [tmp_path / "1" / "x.png", tmp_path / "2" / "x.png", tmp_path / "1" / "X.jpg", tmp_path / "1" / "x-2.png"]
    touch(*paths)
    found = find_inputs(paths, tmp_path / "out")
    assert [file.name for file in found.inputs] == ["x", "x-3", "X-4", "x-2"]


@given(st.lists(st.sampled_from(["x", "X", "x-2", "x-3", "y"])))
def test_names_are_unique_whatever_the_case(names: list[str]) -> None:
    found = _unique(names)
    assert len({name.lower() for name in found}) == len(names)
    for name, chosen in zip(names, found, strict=True):
        assert chosen.startswith(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.png", "the file is missing"),
        ("notes.txt", "no image or volume by its name"),
        ("empty", "a folder without"),
    ],
)
def test_names_that_lead_to_nothing(tmp_path: Path, name: str, message: str) -> None:
    touch(tmp_path / "notes.txt", tmp_path / "good.png")
    (tmp_path / "empty").mkdir()
    found = find_inputs([tmp_path / name, tmp_path / "good.png"], tmp_path / "out")
    assert [file.name for file in found.inputs] == ["good"]
    assert [message in problem.what for problem in found.problems] == [True]
    assert found.problems[0].where == tmp_path / name


def test_output_into_the_input_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    with pytest.raises(UserError, match="the output folder is also an input folder"):
        find_inputs([tmp_path], tmp_path / "sub" / "..")
