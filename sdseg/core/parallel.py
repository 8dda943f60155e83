"""Work on many files at once: a bounded number in flight, every problem collected, progress shown."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from sdseg.core.errors import ListedError, UserError

__all__ = ["attempt", "each"]

Item = TypeVar("Item")
Result = TypeVar("Result")
log = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 10.0  # where no bar can be drawn, in a log file


def attempt(
    work: Callable[[Item], Result], items: Sequence[Item], *, jobs: int, title: str, where: Path
) -> tuple[dict[int, Result], list[str]]:
    """`work` of every item by `jobs` threads: results by the item's number, and one line for each that failed.

    Decoding, decompressing, resizing and hashing all run without Python's lock, so threads add up and share the
    arrays they fill. An item that raises UserError does not stop the others; the lines, in the items' order, name its
    file below `where`.
    """
    results: dict[int, Result] = {}
    problems: list[tuple[int, UserError]] = []
    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        places = {pool.submit(work, item): place for place, item in enumerate(items)}
        with tqdm(total=len(items), desc=title, unit="file", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
            last_line = time.monotonic()
            for count, future in enumerate(as_completed(places), start=1):
                try:
                    results[places[future]] = future.result()
                except UserError as error:
                    problems.append((places[future], error))
                bar.update()
                if bar.disable and time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
                    last_line = time.monotonic()
                    log.info("%s: %d of %d", title, count, len(items))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return results, [_line(error, where) for _, error in sorted(problems, key=lambda problem: problem[0])]


def each(
    work: Callable[[Item], Result], items: Sequence[Item], *, jobs: int, title: str, where: Path, remedy: str
) -> list[Result]:
    """`work` of every item, in their order, as `attempt` does it. Raises ListedError with every item that failed."""
    results, problems = attempt(work, items, jobs=jobs, title=title, where=where)
    if problems:
        raise ListedError(
            f"{title}: {len(problems)} of {len(items)} cannot be used:", problems, where=where, remedy=remedy
        )
    return [results[place] for place in range(len(items))]


def _line(error: UserError, folder: Path) -> str:
    place = error.where
    if isinstance(place, Path) and place.is_relative_to(folder):
        place = place.relative_to(folder)
    return f"{place}: {error.what} ({error.remedy})"
