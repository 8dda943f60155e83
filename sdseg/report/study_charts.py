"""The charts of calibration and of the studies: several lines each, told apart by colour and by their marks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from sdseg.artifacts.results.evaluation import CalibrationRecord
from sdseg.artifacts.results.studies import LineChart
from sdseg.report.svg import (
    BASE,
    LEFT,
    RIGHT,
    TOP,
    Axis,
    Element,
    Points,
    add,
    figure,
    linear_ticks,
    markup,
    polyline,
    x_axis,
    y_axis,
)

__all__ = ["Chart", "line_chart", "reliability"]

MARKS = ("circle", "square", "diamond", "triangle", "cross")


@dataclass(frozen=True)
class Chart:
    """A drawing, with the lines that its legend names: (number of its style, name)."""

    drawing: Markup
    legend: tuple[tuple[int, str], ...] = ()


def reliability(calibration: CalibrationRecord) -> Chart | None:
    """Share of positives against the probability; the area of a dot grows with its pixels. None without a pixel."""
    bins = [bin_ for bin_ in calibration.bins if bin_.probability is not None and bin_.positives is not None]
    if not bins:
        return None
    x, y = Axis(0.0, 1.0, LEFT, RIGHT), Axis(0.0, 1.0, BASE, TOP)
    drawing = figure(f"Reliability diagram: {len(bins)} bins, expected calibration error {calibration.ece:.4f}")
    ticks = [(tick, f"{tick:.1f}") for tick in linear_ticks(0.0, 1.0)]
    y_axis(drawing, y, ticks)
    x_axis(drawing, x, ticks, "probability")
    polyline(drawing, "ideal", [(0.0, 0.0), (1.0, 1.0)], x, y)
    polyline(drawing, "curve", [(bin_.probability or 0.0, bin_.positives or 0.0) for bin_ in bins], x, y)
    most = max(bin_.pixels for bin_ in bins)
    for bin_ in bins:
        size = 2 + 3 * math.log1p(bin_.pixels) / math.log1p(most)
        dot = add(drawing, "circle", "dot", cx=x(bin_.probability or 0.0), cy=y(bin_.positives or 0.0), r=size)
        shares = f"mean probability {bin_.probability:.3f}, positives {bin_.positives:.3f}"
        add(dot, "title", text=f"{bin_.low:.2f} to {bin_.high:.2f}: {shares}, {bin_.pixels} pixels")
    return Chart(markup(drawing))


def line_chart(chart: LineChart) -> Chart:
    """Dice against whole numbers, a line per name."""
    ticks = [(tick, str(tick)) for tick in chart.ticks]
    first, last = chart.ticks[0], chart.ticks[-1]
    x = (
        Axis(first, last, LEFT + 8, RIGHT - 8, log=chart.logarithmic)
        if len(ticks) > 1
        else Axis(0, 2 * first, LEFT, RIGHT)
    )
    y = Axis(*chart.dice_range, BASE, TOP)
    drawing = figure(chart.description)
    y_axis(drawing, y, [(tick, f"{tick:.2f}") for tick in linear_ticks(y.low, y.high)])
    x_axis(drawing, x, ticks, chart.across)
    for number, (name, line) in enumerate(chart.lines.items()):
        _line(drawing, line, x, y, number, name + chart.details.get(name, ""))
    return Chart(markup(drawing), tuple(enumerate(chart.lines)))


def _line(drawing: Element, points: Points, x: Axis, y: Axis, number: int, name: str) -> None:
    """A line with a mark at every point; its style is one of five."""
    style = number % len(MARKS)
    polyline(drawing, f"series s{style}", points, x, y)
    for at, value in points:
        _mark(drawing, style, x(at), y(value), f"{name}: {at:g}, Dice {value:.3f}")


def _mark(drawing: Element, style: int, x: float, y: float, words: str) -> None:
    arm, half = 3, 1
    shapes = {
        "square": ((-3, -3), (3, -3), (3, 3), (-3, 3)),
        "diamond": ((0, -4), (4, 0), (0, 4), (-4, 0)),
        "triangle": ((0, -4), (4, 3), (-4, 3)),
        "cross": (
            *((-arm, -half), (-half, -half), (-half, -arm), (half, -arm), (half, -half), (arm, -half)),
            *((arm, half), (half, half), (half, arm), (-half, arm), (-half, half), (-arm, half)),
        ),
    }
    shape = MARKS[style]
    if shape == "circle":
        element = add(drawing, "circle", f"mark-s s{style}", cx=x, cy=y, r=3.2)
    else:
        points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in shapes[shape])
        element = add(drawing, "polygon", f"mark-s s{style}", points=points)
    add(element, "title", text=words)
