"""What every job's command starts with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from workflow.jobs import ROOT, shell_prefix


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
