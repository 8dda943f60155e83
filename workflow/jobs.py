"""What every job's command starts with, whatever it runs."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from sdseg.core.locks import WHEN_BUSY

__all__ = ["ROOT", "leave_out_user_site", "shell_prefix"]

ROOT = Path(__file__).resolve().parent.parent


def shell_prefix(*, own_environments: bool) -> str:
    """What every job's command starts with.

    PYTHONPATH is set in the command: Snakemake takes an exported one away from jobs in conda environments. Without
    those a stage runs on the Python that runs Snakemake, whether its environment is activated or not. Packages in the
    user's ~/.local come before those of a conda environment, so there they are left out. `begin LOG` marks a new try in
    a log: those of earlier ones are kept. A job waits for a process that still writes its output, left by a killed run.
    Raises WorkflowError for environments of their own where sdseg was installed from a wheel: they would lack it.
    """
    if own_environments and not (ROOT / "sdseg").is_dir():
        raise WorkflowError(
            "--use-conda needs a checkout of sdseg: the jobs' environments hold the libraries, and take sdseg from it\n"
            "  remedy: run the Snakefile of a checkout, or leave --use-conda out after pip install 'sdseg[cpu,all]'"
        )
    prefix = """begin() { echo "== $(date '+%F %T')" >> "$1"; }; """
    prefix += f"set -euo pipefail; export PYTHONPATH={shlex.quote(str(ROOT))} {WHEN_BUSY}=wait; "
    if own_environments:
        prefix += "export PYTHONNOUSERSITE=1; "
    else:
        prefix += f"export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; "
    return prefix.replace("{", "{{").replace("}", "}}")


def leave_out_user_site() -> None:
    """When conda makes an environment, its pip, too, would take what is in ~/.local for installed."""
    os.environ["PYTHONNOUSERSITE"] = "1"
