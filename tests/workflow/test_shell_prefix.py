"""What every job's command starts with."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from workflow import jobs
from workflow.jobs import ROOT, preload, shell_prefix, why_not_preload


def run(prefix: str, command: str) -> str:
    """What a shell prints, as Snakemake would call it; it fills in braces first."""
    done = subprocess.run(["bash", "-c", prefix.format() + command], capture_output=True, encoding="utf-8", check=True)
    return done.stdout.strip()


def test_an_environment_of_its_own_sees_nothing_of_the_users() -> None:
    ask = f"{sys.executable} -c 'import sys; print(sys.flags.no_user_site)'"
    assert run(shell_prefix(own_environments=True), ask) == "1"
    assert run(shell_prefix(own_environments=False), ask) == "0"


def test_a_job_runs_this_checkout_on_this_python() -> None:
    prefix = shell_prefix(own_environments=False)
    assert run(prefix, "echo $PYTHONPATH") == str(ROOT)
    assert Path(run(prefix, "command -v python")).parent == Path(sys.executable).parent


def test_a_job_runs_the_python_that_has_loaded_the_libraries(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\n")
    (tmp_path / "python").chmod(0o755)
    prefix = shell_prefix(own_environments=False, python=tmp_path)
    assert run(prefix, "command -v python") == str(tmp_path / "python")
    assert Path(run(prefix, "command -v snakemake")).parent == Path(sys.executable).parent


LINUX = sys.platform == "linux"
OTHER_SYSTEM = "this system does not fork what has loaded PyTorch (Linux does)"


@pytest.mark.skipif(not LINUX, reason=OTHER_SYSTEM)
def test_such_a_job_is_a_fork_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And has what was loaded: a command tells of itself."""
    (tmp_path / "job.py").write_text("import os, sys; print(sys.executable, 'colorsys' in sys.modules)")
    monkeypatch.setattr(jobs, "LIBRARIES", ("colorsys",))
    monkeypatch.setattr(jobs, "PRELOADED", ("-m job",))
    folder = preload(1)
    prefix = shell_prefix(own_environments=False, python=folder)
    assert run(prefix, f"cd {tmp_path}; python -m job ''") == f"{folder / 'python'} True"


def test_every_stage_that_loads_pytorch_is_a_fork() -> None:
    rules = "".join(path.read_text("utf-8") for path in (ROOT / "workflow/rules").glob("*.smk"))
    verbs = set(re.findall(r"(?:python -m sdseg|params\.trainer}) ([a-z]+)", rules))
    assert {f"-m sdseg {verb}" for verb in verbs - {"download", "split", "folds", "prepare"}} == set(jobs.PRELOADED)


@pytest.mark.parametrize(
    ("device", "own_environments", "elsewhere", "obstacle"),
    [
        ("cuda:1", False, False, "CUDA does not survive a fork, should a library have woken it while it was loaded"),
        ("cpu", True, False, "jobs have environments of their own"),
        ("cpu", False, True, "jobs run on other machines"),
        ("cpu", False, False, None),
    ],
)
def test_what_keeps_jobs_from_being_forks(
    device: str, own_environments: bool, elsewhere: bool, obstacle: str | None
) -> None:
    why = why_not_preload(device=device, own_environments=own_environments, elsewhere=elsewhere)
    assert why == (obstacle if LINUX else OTHER_SYSTEM)
