"""The record of a training on a disk that fills up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.loaded_python import python


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of a process on Windows")
@pytest.mark.parametrize("full", ["journal", "board"])
def test_a_full_disk_is_one_error(tmp_path: Path, root: Path, full: str) -> None:
    command = [python(), "-m", "tests.helpers.full_disk", full, tmp_path]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, cwd=root, timeout=120)
    assert done.stdout.startswith("cannot write: File too large\n")
    assert f"where:  {tmp_path / 'training.jsonl'}" in done.stdout
    assert "Traceback" not in done.stderr
