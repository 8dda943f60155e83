"""Runs of Snakemake: it and its jobs are forks of one Python that has loaded the libraries."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.helpers.loaded_python import python

__all__ = ["run_snakemake"]


def run_snakemake(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`snakemake …` in a folder, and what it prints, errors among it."""
    command = [str(python()), "-m", "snakemake", *words]
    return subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", check=False
    )
