"""What is remembered of a run, and when it is believed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdseg.core.errors import ListedError, UserError
from sdseg.data.mask_rule import MaskRule
from sdseg.inference.find_inputs import InputFile
from sdseg.inference.run_record import PARTIAL, RunLog, input_fingerprint


@pytest.fixture
def file(tmp_path: Path) -> InputFile:
    path = tmp_path / "a é.png"
    path.write_bytes(b"image")
    return InputFile(path, "a é", "image", key="../a é.png")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def note(account: RunLog, file: InputFile, model: str = "m") -> None:
    (account.output / f"{file.name}_mask.png").write_bytes(b"mask")
    made: dict[str, Any] = {"outputs": {"mask": f"{file.name}_mask.png"}, "empty": False, "model": model, "notes": []}
    account.add(account.note(file, made, account.output))


def test_a_finished_run_is_believed(file: InputFile, output: Path) -> None:
    account = RunLog(output)
    note(account, file)
    account.close({}, [file.key])
    assert not (output / PARTIAL).exists()
    again = RunLog(output)
    assert again.earlier_results.names == {"../a é.png": "a é"}
    assert again.earlier_results.results == {output.resolve() / "a é_mask.png"}
    assert again.kept(file, {"mask": "a é_mask.png"}, "m", MaskRule())
    again.close({}, [file.key])
    report = json.loads((output / "predict.json").read_text("utf-8"))
    assert (report["n_done"], report["n_kept"], report["earlier"]) == (1, 1, [])


def test_a_run_that_was_cut_off_is_believed(file: InputFile, output: Path) -> None:
    note(RunLog(output), file)
    with (output / PARTIAL).open("a", encoding="utf-8") as stream:
        stream.write('{"input": "b.p')
    assert RunLog(output).kept(file, {"mask": "a é_mask.png"}, "m", MaskRule())
    other = replace(file, name="c", key="c")
    note(RunLog(output), other)
    for each in (file, other):
        assert RunLog(output).kept(each, {"mask": f"{each.name}_mask.png"}, "m", MaskRule())


def test_what_changed_is_done_again(file: InputFile, output: Path) -> None:
    note(RunLog(output), file)

    def kept(kind: str = "mask", model: str = "m", *, exclusive: bool = False) -> bool:
        return RunLog(output).kept(file, {kind: f"a é_{kind}.png"}, model, MaskRule(exclusive=exclusive))

    assert kept()
    assert not kept(model="other")
    assert not kept(exclusive=True)  # the record does not tell: structures overlapped
    assert not kept(kind="overlay")
    mask = output / "a é_mask.png"
    mask.write_bytes(b"cut")
    assert not kept()
    mask.unlink()
    assert not kept()
    mask.write_bytes(b"mask")
    assert kept()
    os.utime(file.path, ns=(1, 1))
    assert not kept()


def test_what_cannot_be_looked_at_is_never_the_same(output: Path) -> None:
    gone = InputFile(output / "gone.png", "a", "image")
    note(RunLog(output), gone)
    assert input_fingerprint(gone) == ""
    assert not RunLog(output).kept(gone, {"mask": "a_mask.png"}, "m", MaskRule())


@pytest.mark.parametrize("name", ["v.raw", "voxels.raw.gz"])
def test_a_header_with_its_data_beside_it(tmp_path: Path, name: str) -> None:
    header, data = tmp_path / "v.mhd", tmp_path / name
    header.write_text(f"ObjectType = Image\nNDims = 3\nElementDataFile = {data.name}\n")
    data.write_bytes(b"1")
    before = input_fingerprint(InputFile(header, "v", "volume"))
    data.write_bytes(b"22")
    assert input_fingerprint(InputFile(header, "v", "volume")) != before


def test_what_was_noted_and_not_placed_does_not_count(file: InputFile, output: Path) -> None:
    account = RunLog(output)
    note(account, file, "first")
    made = {"outputs": {"mask": "a é_mask.png"}, "empty": False, "model": "second", "notes": []}
    account.withdraw(account.note(file, made, output))
    again = RunLog(output)
    assert again.kept(file, {"mask": "a é_mask.png"}, "first", MaskRule())
    assert again.ours("a é_mask.png")


def test_whose_file_it_is(file: InputFile, output: Path) -> None:
    account = RunLog(output)
    note(account, file)
    account.close({}, [file.key])
    mask = output / "a é_mask.png"
    assert RunLog(output).ours(mask.name)
    assert not RunLog(output).ours("b_mask.png")
    mask.write_bytes(b"MASK")  # of the same size
    assert RunLog(output).knows(mask.name)
    assert not RunLog(output).ours(mask.name)
    # Reports of earlier versions hold sizes alone.
    text = (output / "predict.json").read_text("utf-8")
    report = json.loads(text)
    del report["inputs"][0]["checksums"]
    (output / "predict.json").write_text(json.dumps(report), "utf-8")
    assert RunLog(output).ours(mask.name)
    mask.write_bytes(b"longer")
    assert not RunLog(output).ours(mask.name)


def test_inputs_of_former_runs_stay_in_the_report(file: InputFile, output: Path) -> None:
    for name in ("a", "b"):
        account = RunLog(output)
        note(account, InputFile(file.path.with_name(name), name, "image", key=name))
        account.close({}, [])
        report = json.loads((output / "predict.json").read_text("utf-8"))
        report["inputs"][0]["of a later version"] = name
        (output / "predict.json").write_text(json.dumps(report), "utf-8")
    assert report["earlier"][0]["of a later version"] == "a"
    assert [record["name"] for record in report["inputs"]] == ["b"]
    assert [record["name"] for record in report["earlier"]] == ["a"]


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "mine"}', '{"kind": "sdseg-predictions", "format": 2}'])
def test_a_foreign_report_is_not_replaced(output: Path, text: str) -> None:
    (output / "predict.json").write_text(text)
    with pytest.raises(UserError, match="that this version did not write"):
        RunLog(output)


def test_listed_problems_are_told(output: Path) -> None:
    account = RunLog(output)
    account.fail(ListedError("slices differ:", ["1.dcm", "2.dcm"], where="s", remedy="move them"))
    assert account.failures == [{"input": "s", "problem": "slices differ: 1.dcm; 2.dcm", "remedy": "move them"}]


def test_results_that_an_input_has_no_more_are_removed_and_those_changed_by_hand_stay(
    file: InputFile, output: Path
) -> None:
    def run(*kinds: str) -> RunLog:
        account = RunLog(output)
        for kind in kinds:
            (output / f"a_{kind}.png").write_bytes(kind.encode())
        made = {"outputs": {kind: f"a_{kind}.png" for kind in kinds}, "empty": False, "model": "m", "notes": []}
        account.add(account.note(file, made, output))
        return account

    run("mask", "hypothesis1", "hypothesis2", "overlay").close({}, [file.key])
    (output / "a_overlay.png").write_bytes(b"changed")
    cut_off = run("mask", "hypothesis1")
    assert output.resolve() / "a_hypothesis2.png" in RunLog(output).earlier_results.results  # not an input meanwhile
    cut_off.close({}, [file.key])
    assert {path.name for path in output.glob("a_*")} == {"a_mask.png", "a_hypothesis1.png", "a_overlay.png"}
