"""What every table has: its rows, and a line that says where the figures come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["Figures", "measured", "spread", "table"]

Figures = dict[str, Any]


def measured(values: Figures) -> str:
    """Where the figures come from, as a line."""
    date = f"{values['date']}, " if "date" in values else ""
    return f"{date}commit {values['commit']}, {values['machine']}: `{values['command']}`.\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def spread(row: Figures, name: str) -> str:
    """`name`_mean and, of several repetitions, `name`_sd."""
    return f"{row[f'{name}_mean']:.3f}" + ("" if row.get(f"{name}_sd") is None else f" ± {row[f'{name}_sd']:.3f}")
