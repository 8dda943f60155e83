"""What may be replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdseg.core.errors import UserError
from sdseg.core.overwrite_checks import check_apart, check_owned

OWNED = ("summary.json", "overlays/*.png", "sweep.*")


def lay(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_our_own_files_may_be_replaced(tmp_path: Path) -> None:
    check_owned(tmp_path / "nowhere", OWNED)
    check_owned(tmp_path, OWNED)
    check_owned(lay(tmp_path, "summary.json", "overlays/a.png", "sweep.json", ".snakemake_timestamp"), OWNED)


@pytest.mark.parametrize(
    "name", ["notes", "Summary.json", "overlays/a.txt", "overlays/deep/a.png", "a.png", "sweep.d/a", ".hidden"]
)
def test_any_other_file_is_found_however_deep(tmp_path: Path, name: str) -> None:
    lay(tmp_path, "summary.json", "overlays/a.png", name)
    with pytest.raises(UserError, match=f"holds '{name}', which this command did not write"):
        check_owned(tmp_path, OWNED)


def test_a_link_among_ours_is_not_followed_and_not_ours(tmp_path: Path) -> None:
    lay(tmp_path / "elsewhere", "a.png")
    lay(tmp_path / "out", "summary.json")
    (tmp_path / "out" / "overlays").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="holds 'overlays', which"):
        check_owned(tmp_path / "out", OWNED)


def test_folders_side_by_side_are_apart(tmp_path: Path) -> None:
    check_apart(tmp_path / "raw-prepared", tmp_path / "raw")
    check_apart(tmp_path / "results" / "a", tmp_path / "raw" / "a")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("model", "the output is the teacher itself, which is only read"),
        ("link", "the output is the teacher itself"),
        ("model/deep/er", r"the output lies in the teacher .*model"),
        ("link/er", "the output lies in the teacher"),
        (".", "the output holds the teacher"),
    ],
)
def test_a_folder_that_is_read_is_told_by_whatever_links(tmp_path: Path, output: str, message: str) -> None:
    lay(tmp_path / "model", "config.json")
    (tmp_path / "link").symlink_to("model")
    with pytest.raises(UserError, match=message):
        check_apart(tmp_path / output, tmp_path / "model", read="the teacher")
