"""Snakemake's plans, made in processes that need not load it: one has it loaded and forks for each.

Loading takes longer than planning. Jobs are run by `python -m snakemake` itself.
"""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["run_snakemake"]

_LOADED = multiprocessing.get_context("forkserver")
_LOADED.set_forkserver_preload(
    ["snakemake.cli", "snakemake.report.html_reporter", "snakemake.storage", "smart_open", "jsonschema", "numpy"]
)


def run_snakemake(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`snakemake …` in a folder, and what it prints, errors among it."""
    command = [sys.executable, "-m", "snakemake", *words]
    if not {"--dry-run", "--lint", "--rulegraph"} & set(words):
        return subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", check=False
        )
    with tempfile.NamedTemporaryFile() as shown:
        process = _LOADED.Process(target=_plan, args=(folder, words, dict(os.environ), shown.name))
        process.start()
        process.join()
        return subprocess.CompletedProcess(command, process.exitcode or 0, Path(shown.name).read_text("utf-8"))


def _plan(folder: Path, words: tuple[str, ...], environment: dict[str, str], shown: str) -> None:
    """What `python -m snakemake` does, in a process of its own."""
    from snakemake.cli import main

    gc.disable()  # it ends soon
    stream = os.open(shown, os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(stream, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # The package of the folder, not that of these tests.
    sys.path[:] = [str(folder), *(path for path in sys.path if Path(path) != Path(__file__).parents[2])]
    sys.argv = ["snakemake", *words]
    try:
        main(words)
    finally:
        atexit._run_exitfuncs()  # a forked process has none of its own at its end
