"""The output folder: one run at a time, and nothing half written left in it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sdseg.core.errors import UserError
from sdseg.inference.output_folder import locked_output, remove_half_written

HOLD = """
import sys, time
from pathlib import Path
from sdseg.inference.output_folder import locked_output
with locked_output(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_run_at_a_time(tmp_path: Path) -> None:
    output = tmp_path / "out put"
    with subprocess.Popen([sys.executable, "-c", HOLD, output], stdout=subprocess.PIPE, encoding="utf-8") as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=r"another run is writing here: process \d+ on .*, since 20"),
            locked_output(output),
        ):
            pass
        other.send_signal(signal.SIGKILL)
    with locked_output(output):
        assert [path.name for path in output.iterdir()] == [".sdseg.lock"]
    assert list(output.iterdir()) == []


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    left = (".a_mask.png.x1.part", ".predict.json.x2.part", "b/.c_overlay.png.x3.part", "b/.v_mask.mha.x4.part/v.mha")
    kept = ("a_mask.png", ".mine.part", "d/.e_mask.png.x.part", ".predict.partial.jsonl")
    for name in (*left, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    remove_half_written(tmp_path, ["a", "b/c"])
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == set(kept)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"), locked_output(tmp_path / "file"):
        pass
