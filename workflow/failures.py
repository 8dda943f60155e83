"""What a run that failed says last: the stages' own words, without progress bars."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from snakemake.logging import logger

__all__ = ["own_words", "tell_failures"]

SHOWN = 20  # last lines of a log in which no error is told
BAR = re.compile(r"\d+(%\|.*\| *\d+/\d+|\S*) \[\d+:\d\d")  # of tqdm, with a known end and without
MESSAGE = re.compile(r"sdseg [a-z]+: ")


def tell_failures(jobs: Iterable[Any]) -> None:
    """Log, for each job that failed for good, what its stage said last and where all of it is."""
    for job in sorted(jobs, key=str):
        for path in map(Path, job.log):
            words = own_words(path)
            logger.error("\n".join(["", f"{job.rule.name}, {path}:", *words] if words else ["", f"see {path}"]))


def own_words(path: Path) -> list[str]:
    """The last message of a log, from its first line on; without one the last lines, a traceback for example."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    lines = [line for line in lines if line.strip() and not BAR.search(line)]
    tries = [number for number, line in enumerate(lines) if line.startswith("== ")]
    lines = lines[tries[-1] + 1 :] if tries else lines  # of the last try alone
    told = [number for number, line in enumerate(lines) if MESSAGE.match(line)]
    return lines[told[-1] :] if told else lines[-SHOWN:]
