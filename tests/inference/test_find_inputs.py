"""What a user names becomes a list of files with names for their results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdseg.core.errors import UserError
from sdseg.inference.find_inputs import EarlierResults, find_inputs, result_names


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
    found = list(result_names([(str(place), name) for place, name in enumerate(names)], {"old": "X-2"}).values())
    assert len({"x-2", *(name.lower() for name in found)}) == len(names) + 1
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


def test_an_input_is_the_same_wherever_a_run_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "in" / "a.png")
    monkeypatch.chdir(tmp_path / "in")
    named = (Path("a.png"), Path("../in/a.png"), tmp_path / "in" / "a.png", tmp_path / "in", Path("*.png"))
    for output in (tmp_path / "out", Path("../out")):
        assert {find_inputs([name], output).inputs[0].key for name in named} == {"../in/a.png"}
    (tmp_path / "way").symlink_to(tmp_path)
    assert find_inputs([tmp_path / "way" / "in" / "a.png"], tmp_path / "out").inputs[0].key == "../in/a.png"
    assert find_inputs([Path("a.png")], tmp_path / "way" / "out").inputs[0].key == "../in/a.png"
    former = EarlierResults({"../in/a.png": "first"})
    assert find_inputs([Path("a.png")], tmp_path / "out", former).inputs[0].name == "first"


def test_results_are_nobodys_input(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.png", "a_mask.png", "b_mask.png")))
    former = EarlierResults(results=frozenset({tmp_path.resolve() / "a_mask.png"}))
    found = find_inputs([tmp_path / "*.png"], tmp_path, former)
    assert [file.name for file in found.inputs] == ["a", "b_mask"]
    assert found.skipped == [(tmp_path, "1 of its results, named as inputs")]


def test_a_link_that_leads_nowhere_is_an_input(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").symlink_to(tmp_path / "gone.png")
    assert [file.name for file in find_inputs([tmp_path / "in"], tmp_path / "out").inputs] == ["a"]


def test_a_link_to_a_folder_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "a.png", tmp_path / "in" / "b.png")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    found = find_inputs([tmp_path / "in"], tmp_path / "out")
    assert [file.name for file in found.inputs] == ["b"]
    assert [path.name for path, _ in found.skipped] == ["link"]
    assert [file.name for file in find_inputs([tmp_path / "in" / "link"], tmp_path / "out").inputs] == ["a"]


def test_a_name_that_no_report_can_hold(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "ä.png", tmp_path / "in" / os.fsdecode(b"\xff.png"))
    found = find_inputs([tmp_path / "in"], tmp_path / "out")
    assert [file.name for file in found.inputs] == ["ä"]
    assert [(problem.what.split(":")[0], problem.where) for problem in found.problems] == [
        ("a name that is not UTF-8", f"{tmp_path}/in/\\xff.png")
    ]


def test_other_files_of_a_folder_are_counted(tmp_path: Path) -> None:
    touch(*(tmp_path / "in" / name for name in ("a.png", "b.webp", "c.WEBP", "notes", "v.mhd", "v.raw", ".hidden.txt")))
    found = find_inputs([tmp_path / "in"], tmp_path / "out")
    assert found.skipped == [
        (tmp_path / "in", "files that are no images or volumes by their names: 2 .webp, 1 without suffix")
    ]


def test_output_into_the_input_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    with pytest.raises(UserError, match="the output folder is also an input folder"):
        find_inputs([tmp_path], tmp_path / "sub" / "..")
