"""The record of a training on a disk that fills up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FILLED = """
import resource, sys, time
from pathlib import Path
from sdseg.core.errors import UserError
from sdseg.training.log import Journal
root, board = Path(sys.argv[1]), sys.argv[2] == "board"
try:
    with Journal(root / "training.jsonl", root / "tensorboard", 0) as journal:
        journal.write("step", 1, loss=1.0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
        for step in range(2, 10_000):
            if board:
                journal.write("step", step, loss=1.0, losses={f"a{number}": 1.0 for number in range(20)})
            else:
                journal.write("done", step, reason="x" * 200)
            if board:
                root.joinpath("training.jsonl").write_bytes(b"")  # that file stays small
            time.sleep(0.001)
except UserError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of a process on Windows")
@pytest.mark.parametrize("full", ["file", "board"])
def test_a_full_disk_is_one_error(tmp_path: Path, root: Path, full: str) -> None:
    """The limit on a file's size stands in for it: of the journal, or of TensorBoard's file."""
    command = [sys.executable, "-c", FILLED, str(tmp_path), full]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, cwd=root, timeout=120)
    assert done.stdout.startswith("cannot write: File too large\n")
    assert f"where:  {tmp_path / 'training.jsonl'}" in done.stdout
    assert "Traceback" not in done.stderr
