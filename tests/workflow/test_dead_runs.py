"""A run of the workflow that was killed: the same command goes on, beside what the killed one left at work too."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.core.test_locks import another
from tests.helpers.projects import Project, checkout
from workflow.dead_runs import working

RUN = """
import sys, time
sys.path[:0] = [sys.argv[1]]
from workflow.dead_runs import lift_dead_locks
lift_dead_locks(["my config.yaml"])
print("signed in", flush=True)
if sys.argv[2] == "locks":
    open(".snakemake/locks/0.output.lock", "w").write("a")
if sys.argv[2] != "ends":
    time.sleep(60)
"""


class Folder:
    """A working directory with Snakemake's folder of locks, in which runs start and are killed."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path, self.root = path, root
        self.locks, self.runs = path / ".snakemake/locks", path / ".snakemake/sdseg-runs"
        self.locks.mkdir(parents=True)

    def start(self, what: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", RUN, str(self.root), what]
        return subprocess.Popen(command, cwd=self.path, stdout=-1, stderr=subprocess.STDOUT, encoding="utf-8")

    def killed(self) -> int:
        """A run that took locks and was killed; its process id."""
        with self.start("locks") as run:
            while not any(self.locks.iterdir()):
                assert run.poll() is None
                time.sleep(0.01)
            run.kill()
        return run.pid

    def told(self) -> str:
        """What a run says that starts and ends."""
        with self.start("ends") as run:
            text = run.communicate()[0]
        assert run.returncode == 0, text
        return text


@pytest.fixture
def folder(tmp_path: Path, root: Path) -> Folder:
    return Folder(tmp_path, root)


def test_the_locks_of_a_killed_run_are_lifted(folder: Folder) -> None:
    killed = folder.killed()
    told = folder.told()
    assert f"was killed (process {killed} on {socket.gethostname()}, since 20" in told
    assert "its lock is lifted" in told
    assert not any(folder.locks.iterdir())
    assert not folder.runs.exists()


def test_the_locks_of_a_living_run_stay(folder: Folder) -> None:
    folder.killed()
    (folder.locks / "0.output.lock").unlink()
    with folder.start("locks") as living:
        assert living.stdout is not None
        assert living.stdout.readline() == "signed in\n"
        while not any(folder.locks.iterdir()):
            time.sleep(0.01)
        assert "lock" not in folder.told()
        assert any(folder.locks.iterdir())
        living.kill()


@pytest.mark.parametrize("known", [True, False], ids=["on another machine", "of an unknown run"])
def test_what_cannot_be_known_is_left_to_the_user(folder: Folder, known: bool) -> None:
    folder.killed()
    (note,) = folder.runs.iterdir()
    if known:
        note.write_text('{"pid": 7, "host": "login-2", "boot": "x", "since": "2026-01-02 03:04:05"}', "utf-8")
    else:
        note.unlink()
    told = folder.told()
    assert ("of process 7 on login-2, since 2026-01-02" if known else "of an unknown run") in told
    assert "snakemake --unlock --cores 1 --configfile 'my config.yaml'" in told
    assert any(folder.locks.iterdir())
    assert list(folder.runs.glob("*")) == ([note] if known else [])


def test_outputs_that_are_being_written_are_known(tmp_path: Path) -> None:
    output = tmp_path / "kseg" / "unet" / "model"
    with another(output) as process:
        (found,) = working(tmp_path)
    assert found.startswith(f"{output}: process {process.pid} on ")
    assert not list(working(tmp_path))


def hidden(root: Path) -> set[str]:
    """Hidden files among the data and the results, but for those that stay."""
    found = {path.name for folder in ("raw data", "results é") for path in (root / folder).rglob(".*")}
    return found - {".phantom", ".snakemake_timestamp"}


@pytest.mark.parametrize("whole_group", [True, False], ids=["all its processes", "the main process alone"])
def test_the_same_command_continues_after_a_kill(tmp_path: Path, whole_group: bool) -> None:
    project: Project = checkout(tmp_path / "sdseg é copy")
    words = ["results é/kseg/raw.json", "--cores", "2", "--configfile", "mini.yaml"]
    run = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *words],
        cwd=project.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    log = project.results / "logs/kseg/phantoms.log"
    while not log.exists():
        assert run.poll() is None
        time.sleep(0.02)
    (os.killpg if whole_group else os.kill)(run.pid, signal.SIGKILL)
    run.wait()
    assert any((project.root / ".snakemake/locks").iterdir())
    assert "lock" not in project.snakemake(words[0], "--dry-run").replace("cannot be locked", "")
    assert any((project.root / ".snakemake/locks").iterdir())  # a dry run lifts nothing
    told = project.snakemake(words[0])
    assert f"the run before this one was killed (process {run.pid} on " in told
    assert project.read("kseg/raw.json")["n_cases"] > 0
    # A job whose main process alone was killed may still be at work, on a busy machine even after the second run.
    until = time.monotonic() + 60
    while (left := hidden(project.root)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left
