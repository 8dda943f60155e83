"""Pictures of studies as PNG files, drawn by matplotlib without a display."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sdseg.artifacts.results.studies import Line, Robustness, Sweep
from sdseg.core.array_types import AnyArray
from sdseg.core.files import atomic_file

__all__ = ["Panel", "draw_panels", "draw_robustness", "draw_sweep"]

DPI = 120
GREY = "0.5"  # readable on white and on black
ROOM = 0.03  # of Dice, above and below a curve


@dataclass(frozen=True)
class Panel:
    """One picture of a grid: grey or coloured by a scale [H,W], or RGB [H,W,3] uint8."""

    picture: AnyArray
    title: str = ""
    scale: str = "gray"  # of matplotlib
    limits: tuple[float, float] | None = None  # of the scale; None: from the 2nd to the 98th percentile


def draw_sweep(path: Path, sweep: Sweep, heading: str) -> None:
    """Dice against the number of reverse steps, one line per number of samples (the paper's Figure 3)."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    _plot(axes, sweep.lines)
    axes.set_xscale("log")
    ticks = sorted({row.steps for row in sweep.rows})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="reverse steps (DDIM)", ylabel="mean Dice", title=heading)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(frameon=False)
        low, high = axes.dataLim.intervaly
        axes.set_ylim(max(0.0, low - ROOM), min(1.0, high + ROOM))  # so that chance does not fill the picture
    _save(figure, path)


def draw_robustness(path: Path, study: Robustness, heading: str) -> None:
    """Dice against the level of harm, 0 being none, one line per kind."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    _plot(axes, study.lines)
    axes.set_xticks(range(len(study.curves[0].levels) + 1))
    axes.set(xlabel="level (0: clean)", ylabel="mean Dice", title=heading, ylim=(0, 1.02))
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
                axes.set_title(panel.title, fontsize=7, color=GREY, pad=2)
    _save(figure, path, transparent=True)


def _plot(axes: Axes, lines: Mapping[str, Line]) -> None:
    for marker, (name, line) in zip(itertools.cycle("osD^v"), lines.items(), strict=False):
        axes.plot(*zip(*line, strict=True), marker=marker, label=name)


def _save(figure: Figure, path: Path, *, transparent: bool = False) -> None:
    FigureCanvasAgg(figure)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, transparent=transparent)
