"""A file of benchmarks/figures: what every script that makes one does with its rows."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdseg.core.errors import UserError
from sdseg.core.files import write_json

__all__ = ["joined", "machine", "write_figures"]


def write_figures(make: Callable[[], dict[str, Any]], output: Path) -> int:
    """Write the figures that `make` gives and print their rows; 0. Ends the script with the message of a UserError."""
    try:
        figures = make()
    except UserError as error:
        sys.exit(f"error: {error}")
    write_json(output, figures)
    print(json.dumps(figures["rows"], indent=2))
    return 0


def machine() -> str:
    """Where the figures were put together."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def joined(
    former: Path, run: str, head: dict[str, Any], rows: list[dict[str, Any]], subject: tuple[str, ...]
) -> dict[str, Any]:
    """The figures of a run, which `head` tells of, after those of other subjects that a file has already.

    subject: keys whose values say what a row is of; rows of the same subject as the new ones make room for them.
    """
    earlier = json.loads(former.read_text("utf-8")) if former.exists() else {"runs": {}, "rows": []}
    new = {tuple(row[key] for key in subject) for row in rows}
    others = [row for row in earlier["rows"] if tuple(row[key] for key in subject) not in new]
    runs = earlier["runs"] | {run: head}
    told = {key: "; ".join(dict.fromkeys(each[key] for each in runs.values())) for key in head}
    return told | {"runs": runs, "rows": [*others, *rows]}
