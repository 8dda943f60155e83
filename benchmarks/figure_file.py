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

__all__ = ["machine", "write_figures"]


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
