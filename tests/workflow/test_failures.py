"""What is shown of the log of a failed job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from workflow.failures import own_words
from workflow.jobs import shell_prefix

BARS = """
import time
from tqdm import tqdm
for _ in tqdm(range(200), desc="train", unit="step", mininterval=0):
    pass
for _ in tqdm(iter(range(200)), desc="count", mininterval=0):
    pass
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of two tries, written as a rule does: progress bars, then the message of a stage."""
    path = tmp_path / "train é.log"
    prefix = shell_prefix(own_environments=False).format()
    for message in ("first", "second"):
        code = BARS + f"print('sdseg train: error: the {message}\\n  where:  there\\n  remedy: do this')"
        command = f"{prefix} begin '{path}'; {sys.executable} -u -c \"$CODE\" >> '{path}' 2>&1"
        subprocess.run(["bash", "-c", command], env={"CODE": code, "PATH": "/usr/bin:/bin"}, check=True)
    return path


def test_the_stages_own_message_is_shown_without_progress_bars(log: Path) -> None:
    assert log.read_text("utf-8").count("200/200") >= 2
    assert own_words(log) == ["sdseg train: error: the second", "  where:  there", "  remedy: do this"]


def test_the_log_of_the_failed_try_is_kept(log: Path) -> None:
    text = log.read_text("utf-8")
    assert text.index("== 20") < text.index("error: the first") < text.index("error: the second")


def test_without_a_message_the_last_lines_are_shown(log: Path) -> None:
    with log.open("a", encoding="utf-8") as stream:
        stream.write(
            "== 2026-01-01 00:00:00\ntrain:  50%|##  | 100/200 [00:01<00:01, 99step/s]\nTraceback\n  here\nKilled\n"
        )
    assert own_words(log) == ["Traceback", "  here", "Killed"]


def test_a_log_that_is_not_there_or_no_text_is_no_error(tmp_path: Path) -> None:
    assert own_words(tmp_path / "none.log") == []
    (tmp_path / "odd.log").write_bytes(b"\xff\xfe\nsdseg train: error: x\n")
    assert own_words(tmp_path / "odd.log") == ["sdseg train: error: x"]
