"""benchmarks/loaded_python.py on a checkout whose command takes no time: what it counts, and what it refuses."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.loaded_python import Taker, figures
from sdseg.core.errors import UserError
from sdseg.core.loaded_python import start_loaded_python
from tools.figure_tables.latency import loaded_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux forks what has loaded PyTorch")

JOBS = f"""
import importlib.util
found = importlib.util.spec_from_file_location("loaded_python", {start_loaded_python.__code__.co_filename!r})
module = importlib.util.module_from_spec(found)
found.loader.exec_module(module)
preload = lambda threads: module.start_loaded_python([], ["-m sdseg evaluate"]).parent
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for folder, name, text in (("workflow", "jobs.py", JOBS), ("sdseg", "__main__.py", "raise SystemExit(2)")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text, encoding="utf-8")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "before"], check=True)
    return tmp_path


def test_checkouts_take_turns(checkout: Path) -> None:
    made = figures(argparse.Namespace(checkout=[checkout, checkout], calls=10, rounds=2))
    assert [row["python"] for row in made["rows"]] == ["by itself", "loaded", "loaded"]
    assert all(0 < row["least"] <= row["cpu_seconds"] <= row["most"] < 2 for row in made["rows"])
    assert made["rows"][0]["of_the_first"] == 1
    commit = made["rows"][0]["commit"]
    assert made["command"].count(f"--checkout {commit}") == 2
    assert loaded_python(made).count(f"| `{commit}` | a fork of one that has loaded the libraries |") == 2


def test_what_is_no_checkout_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkout of this project"):
        Taker(tmp_path)


def test_a_command_that_ends_otherwise_is_not_counted(checkout: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (checkout / "sdseg" / "__main__.py").write_text("raise SystemExit('no disk')", encoding="utf-8")
    with pytest.raises(UserError, match="its commands do not end as they should"):
        Taker(checkout)
    assert "expected a message and status 2, got 1: no disk" in capfd.readouterr().err
