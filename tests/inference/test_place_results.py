"""Which results of a run may be written, and that nothing but our own files is replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sdseg.artifacts.image_contract import Structure
from sdseg.core.errors import UserError
from sdseg.data.mask_rule import MaskRule
from sdseg.inference.find_inputs import InputFile
from sdseg.inference.place_results import ResultFiles
from sdseg.inference.run_record import RunLog
from sdseg.inference.write_outputs import targets_of


def made(**outputs: str) -> dict[str, Any]:
    return {"outputs": outputs, "empty": False, "model": "m", "notes": []}


def results(folder: Path, *files: InputFile, overwrite: bool = False) -> ResultFiles:
    return ResultFiles(RunLog(folder), files, lambda file: {"mask": f"{file.name}_mask.png"}, overwrite=overwrite)


def test_what_would_be_lost_is_refused(tmp_path: Path) -> None:
    mask = tmp_path / "a_mask.png"
    mask.write_bytes(b"mine")
    (tmp_path / "link.png").symlink_to(mask)
    first = InputFile(tmp_path / "a.png", "a", "image")
    for name in ("a_mask.png", "link.png"):  # by whatever name it is an input
        run = results(tmp_path, first, InputFile(tmp_path / name, "other", "image"), overwrite=True)
        with pytest.raises(UserError, match="would replace another input of this run"):
            run.check(first)
    with pytest.raises(UserError, match=r"(?s)a file that no run into this folder wrote.*a\.png.*--overwrite"):
        results(tmp_path, first).check(first)
    results(tmp_path, first, overwrite=True).check(first)
    second = InputFile(tmp_path / "b.png", "A", "image")
    with pytest.raises(UserError, match=r"(?s)'A_mask\.png' is that of .*a\.png as well"):
        results(tmp_path, first, second).check(second)
    long = InputFile(tmp_path / "c.png", "ä" * 124, "image")
    with pytest.raises(UserError, match="a name of 257 bytes, and the disk takes 255"):
        results(tmp_path, long).check(long)


def test_a_file_that_comes_to_lie_there_at_the_last_moment_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = InputFile(tmp_path / "a.png", "a", "image")
    run, mask = results(tmp_path, file), tmp_path / "a_mask.png"
    note = RunLog.note

    def late(*arguments: Any) -> Any:  # between the check and the move
        mask.write_bytes(b"mine")
        return note(*arguments)

    monkeypatch.setattr(RunLog, "note", late)
    with run.aside() as folder:
        (folder / mask.name).write_bytes(b"ours")
        with pytest.raises(UserError, match="was put into the output folder during the run"):
            run.place(file, made(mask=mask.name), folder)
    assert mask.read_bytes() == b"mine"
    assert not RunLog(tmp_path).kept(file, ["mask"], "m", MaskRule())


def test_results_that_cannot_all_be_placed_leave_none(tmp_path: Path) -> None:
    file = InputFile(tmp_path / "a.png", "a", "image")
    run = results(tmp_path, file)
    (tmp_path / "file").write_text("mine")
    with run.aside() as folder:
        (folder / "file").mkdir()
        for name in ("a_mask.png", "file/x.png"):
            (folder / name).write_bytes(b"ours")
        with pytest.raises(UserError, match="cannot write"):
            run.place(file, made(mask="a_mask.png", overlay="file/x.png"), folder)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["file"]


@pytest.mark.parametrize(
    "names", [("肝", "脾"), ("T+", "T-"), ("liver", "肝"), ("1", "肝"), ("Left Kidney", "left-kidney")]
)
def test_every_structure_has_a_file_of_its_own(names: tuple[str, ...]) -> None:
    structures = tuple(Structure(name=name, values=(number,)) for number, name in enumerate(names, start=1))
    for kind in ("image", "volume", "series"):
        targets = targets_of(InputFile(Path("a.x"), "a", kind), structures, probability=True, overlay=True)  # type: ignore[arg-type]
        assert len({name.lower() for name in targets.values()}) == 4
        assert all(name.isascii() for name in targets.values())
