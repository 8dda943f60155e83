"""Pictures of studies as PNG files, drawn by matplotlib without a display."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sdseg.artifacts.results.studies import LineChart
from sdseg.core.array_types import AnyArray
from sdseg.core.files import atomic_file

__all__ = ["Panel", "draw_chart", "draw_panels"]

DPI = 120
GREY = "0.5"  # readable on white and on black


@dataclass(frozen=True)
class Panel:
    """One picture of a grid: grey or coloured by a scale [H,W], or RGB [H,W,3] uint8."""

    picture: AnyArray
    title: str = ""
    scale: str = "gray"  # of matplotlib
    limits: tuple[float, float] | None = None  # of the scale; None: from the 2nd to the 98th percentile


def draw_chart(path: Path, chart: LineChart, heading: str) -> None:
    """What the page draws too, for papers and slides."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for marker, (name, line) in zip(itertools.cycle("osD^v"), chart.lines.items(), strict=False):
        axes.plot(*zip(*line, strict=True), marker=marker, label=name)
    axes.set_xscale("log" if chart.logarithmic else "linear")
    axes.set_xticks(chart.ticks, [str(tick) for tick in chart.ticks])
    axes.minorticks_off()
    axes.set(xlabel=chart.across, ylabel="mean Dice", title=heading, ylim=chart.dice_range)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    _save(figure, path)


def draw_panels(path: Path, rows: Sequence[Sequence[Panel]], heading: str) -> None:
    """A grid of pictures, a row per case; titles stand above each picture that has one."""
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(1.5 * columns, 1.75 * len(rows) + 0.4), layout="constrained")
    figure.suptitle(heading, fontsize=9, color=GREY)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        for place, axes in enumerate(line):
            axes.set_axis_off()
            if place < len(row):
                panel = row[place]
                low, high = panel.limits or tuple(np.percentile(panel.picture, (2, 98)))
                axes.imshow(panel.picture, cmap=panel.scale, vmin=low, vmax=high, interpolation="nearest")
                axes.set_title(panel.title, fontsize=7, color=GREY, pad=2, y=1.0)
    _save(figure, path, transparent=True)


def _save(figure: Figure, path: Path, *, transparent: bool = False) -> None:
    FigureCanvasAgg(figure)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, transparent=transparent)
