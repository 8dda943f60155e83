"""The verb `split`: written once from table, folders or a seed; kept ever after, and a change is never silent."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdseg.cli.commands import main
from sdseg.config.dataset import Dataset, Draw
from sdseg.core.errors import ListedError, UserError
from sdseg.core.settings import parse
from sdseg.data.prepare import prepare
from sdseg.data.store import SliceStore
from sdseg.datasets.split import split
from sdseg.datasets.split_files import check_split, read_split
from tests.config.test_dataset import FOLDERS
from tests.helpers.raw_files import encode, picture, write_kseg

OWN: dict[str, Any] = {**FOLDERS, "group_pattern": r"^(p\d+)_"}


def settings(**changes: Any) -> Dataset:
    return parse(Dataset, {"source": "own", "size": 16, "own": {**OWN, **changes}}, where="my.yaml")


def add_case(raw: Path, name: str, seed: int = 0) -> None:
    image, mask = picture(seed, 20, 24)
    encode(raw / "images" / f"{name}.png", image)
    encode(raw / "masks" / f"{name}.png", mask)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Ten patients with one to four images each."""
    for patient in range(10):
        for number in range(1 + patient % 4):
            add_case(tmp_path / "rohe däten", f"p{patient}_{number}", seed=10 * patient + number)
    return tmp_path / "rohe däten"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "teilung é" / "split.csv"


def test_a_drawn_split_keeps_patients_together_and_prepares(raw: Path, output: Path, tmp_path: Path) -> None:
    rows = split(settings=settings(), raw=raw, output=output, draw=Draw(seed=3))
    assert read_split(output) == rows
    assert check_split(rows, [row.id for row in rows], where=output, protocol="clean") == rows
    assert {row.group for row in rows} == {f"p{number}" for number in range(10)}
    prepare(name="mine", settings=settings(), raw=raw, split=output, output=tmp_path / "store")
    store = SliceStore.open(tmp_path / "store")
    assert {case.case: case.split for case in store.cases} == {row.id: row.split for row in rows}
    assert (store.manifest.source, store.manifest.target, store.manifest.labels) == ("own", "all", {1: "polyp"})


def test_the_same_again_keeps_the_file_to_the_byte(raw: Path, output: Path) -> None:
    split(settings=settings(), raw=raw, output=output)
    before = output.read_bytes()
    lines = before.decode().splitlines()
    output.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")  # another order says the same
    kept = output.read_bytes()
    split(settings=settings(), raw=raw, output=output)
    assert output.read_bytes() == kept != before


def test_settings_say_how_it_is_drawn(raw: Path, tmp_path: Path) -> None:
    values = settings().model_dump() | {"split": {"seed": 5, "fractions": [0.5, 0.2, 0.3]}}
    by_settings = split(settings=parse(Dataset, values, where="x"), raw=raw, output=tmp_path / "a.csv")
    by_words = split(
        settings=settings(), raw=raw, output=tmp_path / "b.csv", draw=Draw(seed=5, fractions=(0.5, 0.2, 0.3))
    )
    assert by_settings == by_words
    assert Counter(row.split for row in by_words)["train"] < 15


def test_new_and_vanished_cases_are_named(raw: Path, output: Path) -> None:
    split(settings=settings(), raw=raw, output=output)
    before = output.read_bytes()
    add_case(raw, "p11_0")
    for kind in ("images", "masks"):
        (raw / kind / "p0_0.png").unlink()
    with pytest.raises(ListedError, match=r"(?s)do not agree.*case without a line: p11_0.*line without a case: p0_0"):
        split(settings=settings(), raw=raw, output=output)
    with pytest.raises(ListedError, match=r"complete a copy of the file by hand and name it as 'split_file'"):
        split(settings=settings(), raw=raw, output=output)
    assert output.read_bytes() == before


def test_another_seed_does_not_replace_the_file(raw: Path, output: Path) -> None:
    split(settings=settings(), raw=raw, output=output)
    before = output.read_bytes()
    with pytest.raises(UserError, match=r"not the one these settings give: \d+ of 23 cases differ \(p") as caught:
        split(settings=settings(), raw=raw, output=output, draw=Draw(seed=1))
    assert "to replace it, delete it" in caught.value.remedy
    assert output.read_bytes() == before


def test_a_damaged_file_is_named(raw: Path, output: Path) -> None:
    output.parent.mkdir()
    output.write_text("case,split\n")
    with pytest.raises(UserError, match="the first line must be id,group,split"):
        split(settings=settings(), raw=raw, output=output)


TABLE: dict[str, Any] = {
    **OWN,
    "layout": "table",
    "images": None,
    "masks": None,
    "table": "t.csv",
    "group_pattern": None,
}


def write_table(raw: Path, header: str, lines: dict[str, str]) -> None:
    rows = [f"images/{name}.png,masks/{name}.png{more}" for name, more in lines.items()]
    (raw / "t.csv").write_text("\n".join([header, *rows]), encoding="utf-8")


def test_the_split_of_a_table_is_taken(raw: Path, output: Path) -> None:
    lines = {"p0_0": ",a,train", "p1_0": ",b,val", "p2_0": ",c,test", "p1_1": ",b,val"}
    write_table(raw, "image,mask,group,split", lines)
    rows = split(settings=settings(**TABLE), raw=raw, output=output)
    assert {row.id: f",{row.group},{row.split}" for row in rows} == lines


def test_a_group_over_several_splits_is_refused(raw: Path, output: Path) -> None:
    write_table(raw, "image,mask,group,split", {"p0_0": ",a,train", "p1_0": ",a,val", "p2_0": ",c,test"})
    with pytest.raises(ListedError, match=r"1 group\(s\) lie in several splits:\n  - group 'a' lies in train and val"):
        split(settings=settings(**TABLE), raw=raw, output=output)
    assert not output.exists()


def test_groups_of_a_table_are_kept_together(raw: Path, output: Path) -> None:
    groups = {f"p{number}_0": f",{'abcd'[number % 4]}" for number in range(10)}
    write_table(raw, "image,mask,group", groups)
    rows = split(settings=settings(**TABLE), raw=raw, output=output)
    assert {row.id: f",{row.group}" for row in rows} == groups
    assert len({(row.group, row.split) for row in rows}) == 4


def test_too_few_patients_are_refused(tmp_path: Path, output: Path) -> None:
    for name in ("p1_a", "p1_b", "p2_a"):
        add_case(tmp_path, name)
    with pytest.raises(UserError, match=r"2 group\(s\) of cases cannot be shared among train, val, test"):
        split(settings=settings(), raw=tmp_path, output=output)


# Datasets that are known


def test_folders_of_the_owner_define_the_split(tmp_path: Path, output: Path) -> None:
    for number, part in enumerate(("Training", "Training", "Validation", "Test")):
        image, mask = picture(number, 20, 30)
        encode(tmp_path / f"ISIC2018_Task1-2_{part}_Input" / f"ISIC_000000{number}.jpg", image)
        encode(tmp_path / f"ISIC2018_Task1_{part}_GroundTruth" / f"ISIC_000000{number}_segmentation.png", mask)
    dataset = Dataset(source="isic2018", protocol="official", size=16)
    rows = split(settings=dataset, raw=tmp_path, output=output)
    assert [row.split for row in rows] == ["train", "train", "val", "test"]
    made = prepare(name="isic", settings=dataset, raw=tmp_path, split=output, output=tmp_path.with_name("store"))
    assert (made.protocol, made.n_cases) == ("official", {"train": 2, "val": 1, "test": 1})


def test_committed_splits_are_not_drawn_anew(tmp_path: Path, output: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)the splits of Kvasir-SEG are files.*resources/splits/kseg/"):
        split(settings=Dataset(source="kseg"), raw=write_kseg(tmp_path / "raw"), output=output)


# From the command line


def test_the_command(raw: Path, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "source: own\nown:\n" + "".join(f"  {key}: {json.dumps(value)}\n" for key, value in OWN.items())
    (tmp_path / "mein.yaml").write_text(text, encoding="utf-8")
    words = ["split", "--settings", tmp_path / "mein.yaml", "--raw", raw, "--output", output]
    assert main([*map(str, words), "--seed", "4", "--fractions", "0.6,0.2,0.2"]) == 0
    assert read_split(output) == split(
        settings=settings(), raw=raw, output=tmp_path / "again.csv", draw=Draw(seed=4, fractions=(0.6, 0.2, 0.2))
    )
    assert main([*map(str, words), "--seed", "5"]) == 2
    assert "sdseg split: error: the split file is not the one these settings give" in capsys.readouterr().err
    assert main([*map(str, words), "--fractions", "0.6,0.6,0.2"]) == 2
    assert "'fractions' must sum to 1, not 1.4" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*map(str, words), "--fractions", "most,some,few"])
    assert "--fractions" in capsys.readouterr().err
    shutil.rmtree(raw)
    assert main(list(map(str, words))) == 2
    assert "the raw folder of own data is missing" in capsys.readouterr().err


def test_copies_are_drawn_together_as_the_refusal_says(raw: Path, output: Path, tmp_path: Path) -> None:
    rows = split(settings=settings(), raw=raw, output=output)
    first = next(row for row in rows if row.split == "train")
    second, third = (next(row for row in rows if row.split == part) for part in ("test", "val"))
    for kind in ("images", "masks"):
        for row in (second, third):
            shutil.copy(raw / kind / f"{first.id}.png", raw / kind / f"{row.id}.png")
    target = {"raw": raw, "split": output, "output": tmp_path / "store"}
    with pytest.raises(ListedError, match=r"3 problem\(s\):\n.*are the same picture") as refusal:
        prepare(name="mine", settings=settings(), **target)
    told = re.search(
        r"say 'split: (\{together: .*\})' in the dataset's entry, delete (.*), and run", str(refusal.value.remedy)
    )
    assert told is not None
    assert told[2] == str(output)
    again = settings().model_copy(update={"split": parse(Draw, yaml.safe_load(told[1]), where="my.yaml")})
    with pytest.raises(UserError, match="the split file is not the one these settings give"):
        split(settings=again, raw=raw, output=output)
    output.unlink()
    drawn = {row.id: row for row in split(settings=again, raw=raw, output=output)}
    assert len({(drawn[row.id].group, drawn[row.id].split) for row in (first, second, third)}) == 1
    for row in rows:  # whole groups, as before: of the three, all that belong to them
        assert {drawn[other.id].split for other in rows if other.group == row.group} == {drawn[row.id].split}
    prepare(name="mine", settings=again, **target)
    with pytest.raises(UserError, match="there is no case 'p99_1' among"):
        split(settings=settings(), raw=raw, output=tmp_path / "s.csv", draw=Draw(together=(("p99_1", first.id),)))
    with pytest.raises(UserError, match="'together' is a list of lists of two ids or more"):
        parse(Draw, {"together": [["a"]]}, where="my.yaml")
