from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType

import pytest

from sdseg.core.errors import ListedError, UserError
from sdseg.datasets.split_files import SplitRow, check_split, impure_groups, read_split

ROWS = tuple(
    SplitRow(case, case, split)
    for case, split in {"a": "train", "b": "train", "c": "val", "d": "test", "e": "test"}.items()
)
FILE = Path("resources/splits/kseg/clean.csv")
COUNTS = {
    "cvc/clean": (490, 61, 61),
    "cvc/paper": (488, 62, 62),
    "cvc/sample": (14, 3, 3),
    "kseg/clean": (792, 88, 120),
    "kseg/paper": (800, 100, 100),
    "kseg/sample": (16, 3, 3),
    "refuge2/clean": (400, 400, 400),
    "refuge2/paper": (800, 0, 400),
    "refuge2/sample": (20, 6, 10),
    "btcv/clean": (15, 3, 12),
    "btcv/paper": (18, 0, 12),
    "btcv/sample": (1, 0, 1),
    "sts/clean": (7, 2, 3),
    "sts/paper": (9, 0, 3),
}


@pytest.fixture(scope="module")
def tool(root: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("make_splits", root / "tools" / "make_splits.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "split.csv"
    path.write_text(text, encoding=encoding)
    return path


# The committed files


def test_every_committed_file_is_expected(root: Path) -> None:
    folder = root / "resources" / "splits"
    found = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.csv")}
    assert found == COUNTS.keys()


@pytest.mark.parametrize("name", COUNTS)
def test_committed_counts_are_disjoint_and_pure(root: Path, name: str) -> None:
    path = root / "resources" / "splits" / f"{name}.csv"
    rows, protocol = read_split(path), name.split("/")[1]
    sizes = Counter(row.split for row in rows)
    assert (sizes["train"], sizes["val"], sizes["test"]) == COUNTS[name]
    assert len({row.id for row in rows}) == len(rows)
    assert check_split(rows, [row.id for row in rows], where=path, protocol=protocol) == rows
    if protocol != "paper":
        splits = defaultdict(set)
        for row in rows:
            splits[row.group].add(row.split)
        assert all(len(found) == 1 for found in splits.values())


def test_the_committed_files_are_what_the_tool_makes(root: Path, tool: ModuleType) -> None:
    made = tool.split_files()
    assert {name.removesuffix(".csv") for name in made} == COUNTS.keys()
    for name, text in made.items():
        assert (root / "resources" / "splits" / name).read_bytes() == text.encode(), name


def test_the_tool_says_that_nothing_is_stale(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, root / "tools" / "make_splits.py", "--check"],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "nothing to change"), done.stderr


def test_cvc_groups_are_its_sequences(root: Path) -> None:
    for protocol in ("clean", "paper"):
        group = {int(row.id): int(row.group) for row in read_split(root / f"resources/splits/cvc/{protocol}.csv")}
        assert sorted(group) == list(range(1, 613))
        ends = [frame for frame in range(1, 612) if group[frame] != group[frame + 1]]
        assert [group[frame] for frame in (1, 25, 26, 50, 591, 592, 612)] == [1, 1, 2, 2, 28, 29, 29]
        assert len(ends) == 28


def test_the_papers_frames_leak_and_the_clean_protocol_refuses_them(root: Path) -> None:
    path = root / "resources/splits/cvc/paper.csv"
    rows = read_split(path)
    with pytest.raises(ListedError, match=r"group '1' lies in test and train.*scores would be too high"):
        check_split(rows, [row.id for row in rows], where=path, protocol="clean")


def test_published_test_sets_are_kept_in_both_protocols(root: Path) -> None:
    def ids(name: str, split: str) -> set[str]:
        return {row.id for row in read_split(root / f"resources/splits/{name}.csv") if row.split == split}

    for source in ("refuge2", "btcv", "sts"):
        assert ids(f"{source}/clean", "test") == ids(f"{source}/paper", "test")
        assert ids(f"{source}/clean", "train") < ids(f"{source}/paper", "train")


def test_sample_ids_are_those_of_the_sample_files(samples: Path, tool: ModuleType) -> None:
    from_files = tool.split_files(samples=samples)
    assert from_files == tool.split_files()


# Reading


def test_rows_are_read_in_their_order(tmp_path: Path) -> None:
    path = written(tmp_path, "id,group,split\nzwei,g ö,test\n\neins,g1,train\n", encoding="utf-8-sig")
    assert read_split(path) == (SplitRow("zwei", "g ö", "test"), SplitRow("eins", "g1", "train"))


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)split file is missing.*none\.csv.*split_file"):
        read_split(tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"first line must be id,group,split, found case,split"):
        read_split(written(tmp_path, "case,split\na,train\n"))
    with pytest.raises(UserError, match="found an empty file"):
        read_split(written(tmp_path, ""))
    with pytest.raises(UserError, match="cannot read the split file"):
        read_split(written(tmp_path, "id,group,split\nä,ä,test\n", encoding="latin-1"))


def test_every_wrong_line_is_listed(tmp_path: Path) -> None:
    path = written(tmp_path, "id,group,split\na,a,train\na,a,test\nb,b,tset\nc,c\n,d,val\n")
    with pytest.raises(ListedError, match="line 3: 'a' again") as caught:
        read_split(path)
    assert caught.value.problems == (
        "line 3: 'a' again, first in line 2",
        "line 4: unknown split 'tset', did you mean 'test'?",
        "line 5: 2 values where 3 are expected",
        "line 6: empty id or group",
    )


# Checking


def test_a_complete_split_passes() -> None:
    assert check_split(ROWS, "abcde", where=FILE, protocol="clean") == ROWS


def test_cases_no_row_names_are_never_dropped_silently() -> None:
    for allow in (False, True):
        with pytest.raises(ListedError, match=r"(?s)2 case\(s\) on disk are not in the split file: x, y.*clean\.csv"):
            check_split(ROWS, "abcdexy", where=FILE, protocol="clean", allow_missing=allow)


def test_missing_cases_are_an_error_unless_allowed() -> None:
    with pytest.raises(ListedError, match=r"1 case\(s\) of the split file are not on disk: b"):
        check_split(ROWS, "acde", where=FILE, protocol="clean")
    kept = check_split(ROWS, "acde", where=FILE, protocol="clean", allow_missing=True)
    assert [row.id for row in kept] == ["a", "c", "d", "e"]


@pytest.mark.parametrize(
    ("present", "empty"), [("cde", "train"), ("abc", "test"), ("abde", "val"), ("", "train")], ids=lambda value: value
)
def test_an_empty_split_is_an_error(present: str, empty: str) -> None:
    with pytest.raises(ListedError, match=f"no case is left for '{empty}'"):
        check_split(ROWS, present, where=FILE, protocol="clean", allow_missing=True)


@pytest.mark.parametrize("protocol", ["paper", "sample"])
def test_published_and_sample_splits_may_have_no_validation_but_need_the_rest(protocol: str) -> None:
    kept = check_split(ROWS, "abde", where=FILE, protocol=protocol, allow_missing=True)
    assert {row.split for row in kept} == {"train", "test"}
    with pytest.raises(ListedError, match="no case is left for 'test'"):
        check_split(ROWS, "abc", where=FILE, protocol=protocol, allow_missing=True)


def test_all_problems_come_at_once() -> None:
    rows = (*ROWS, SplitRow("f", "a", "test"))
    with pytest.raises(ListedError, match="group 'a' lies in test and train") as caught:
        check_split(rows, "abdefz", where=FILE, protocol="clean")
    assert len(caught.value.problems) == 4
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "1 case(s) on disk are not in the split file",
        "1 case(s) of the split file are not on disk",
        "group 'a' lies in test and train",
        "no case is left for 'val'",
    ]


@pytest.mark.parametrize("other", ["A", "a ", " a", "ａ", "P 1"])
def test_names_that_meet_are_one_group(tmp_path: Path, other: str) -> None:
    first = "p  1" if other == "P 1" else "a"
    path = tmp_path / "split.csv"
    path.write_text(f"id,group,split\nx,{first},train\ny,{other},test\nz,z,val\n", encoding="utf-8")
    rows = read_split(path)
    with pytest.raises(ListedError, match=r"lies? in test and train: its cases are alike"):
        check_split(rows, ["x", "y", "z"], where=path, protocol="clean")
    check_split(rows, ["x", "y", "z"], where=path, protocol="paper")


def test_one_group_under_two_names_in_one_split_is_no_leak() -> None:
    rows = (SplitRow("x", "P1", "train"), SplitRow("y", "p1", "train"), SplitRow("z", "p2", "test"))
    assert impure_groups(rows) == []
    assert impure_groups((*rows, SplitRow("w", "P1", "test"))) == [
        "groups 'P1' and 'p1', one by their names (if they are two, name them apart), lie in test and train: its cases "
        "are alike, so scores would be too high"
    ]
