"""Dice against latency on the page: teachers, students and U-Nets, a chart per runtime."""

from __future__ import annotations

from collections.abc import Sequence

from sdseg.artifacts.results.pareto import ParetoRow
from sdseg.artifacts.results.studies import Line, LineChart
from sdseg.report.training_cost import round_ticks

__all__ = ["dice_by_latency", "runtimes_of"]

ROLES = {"teacher": "teacher", "student": "students", "unet": "U-Nets"}


def runtimes_of(rows: Sequence[ParetoRow]) -> tuple[str, ...]:
    """Every runtime that one of the rows was measured in, in the order of the first."""
    return tuple(dict.fromkeys(name for row in rows for name in row.latency_ms))


def dice_by_latency(rows: Sequence[ParetoRow]) -> tuple[LineChart, ...]:
    """A chart per runtime, a line per role through its recipes in the order of their latency."""
    charts = []
    for runtime in runtimes_of(rows):
        lines: dict[str, Line] = {}
        for role, name in ROLES.items():
            points = sorted(
                (max(1, round(1e3 * row.latency_ms[runtime])), row.dice_mean)
                for row in rows
                if row.role == role and row.dice_mean is not None and runtime in row.latency_ms
            )
            if points:
                lines[name] = tuple(points)
        if lines:
            times = [at for line in lines.values() for at, _ in line]
            charts.append(
                LineChart(
                    title=f"Dice by latency, {runtime}",
                    description=f"Dice of {len(times)} recipes that take {min(times)} to {max(times)} µs an image",
                    across="microseconds for one image",
                    ticks=round_ticks(min(times), max(times)),
                    lines=lines,
                    logarithmic=True,
                )
            )
    return tuple(charts)
