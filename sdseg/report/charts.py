"""The charts of the page, small and hand-drawn, so that they follow its theme."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from sdseg.artifacts.results.evaluation import CaseRow, ShareSummary
from sdseg.report import formats
from sdseg.report.svg import (
    BASE,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Element,
    Points,
    add,
    figure,
    linear_ticks,
    log_ticks,
    markup,
    polyline,
    x_axis,
    y_axis,
)

__all__ = ["distribution", "loss_curve", "lower_end", "score_curve", "whisker"]

DOTS = (13, 11, 9, 7)  # diameters of a case's dot; the largest that fits is taken
MOST_DOTS = 30  # more points than these are drawn as a line alone
MOST_POINTS = 400  # of a curve: more cannot be told apart at this width


def lower_end(scores: Sequence[float]) -> float:
    """Where an axis of scores begins so that the smallest has room: a tenth from 0 to 0.9."""
    return max(0.0, min(0.9, math.floor(min(scores, default=0.0) * 10 - 0.2) / 10))


def distribution(cases: Sequence[CaseRow], low: float) -> Markup:
    """Dice per case from `low` to 1: a dot per case, stacked, or bars where the stacks would be too high."""
    axis, room = Axis(low, 1.0, LEFT / 2, RIGHT), BASE - TOP - 12
    for size in DOTS:
        stacks = _stacked(cases, low, bins=int((axis.end - axis.start) // size))
        highest = max(len(stack) for stack in stacks)
        if highest * size <= room:
            break
    scores = [case.dice for case in cases]
    mean = sum(scores) / len(scores)

    drawing = figure(f"Dice per case: {len(scores)} cases from {min(scores):.3f} to {max(scores):.3f}, mean {mean:.3f}")
    x_axis(drawing, axis, [(tick, f"{tick:.2g}") for tick in linear_ticks(low, 1.0)], "Dice")
    width = (axis.end - axis.start) / len(stacks)
    for index, stack in enumerate(stacks):
        left = axis.start + index * width
        if highest * size <= room:
            for place, case in enumerate(stack):
                y = BASE - 1 - (place + 0.5) * size
                dot = add(drawing, "circle", "dot", cx=left + width / 2, cy=y, r=size / 2 - 0.8)
                add(dot, "title", text=f"{case.case}: {case.dice:.3f}")
        elif stack:
            height = len(stack) / highest * room
            bar = add(drawing, "rect", "dot", x=left + 0.5, y=BASE - height, width=width - 1, height=height)
            add(bar, "title", text=f"{len(stack)} cases from {stack[0].dice:.3f} to {stack[-1].dice:.3f}")
    _mark(drawing, axis(mean), TOP + 4, TOP + 8, f"mean {mean:.3f}")
    return markup(drawing)


def loss_curve(points: Points) -> Markup | None:
    """Loss against steps, logarithmic: as logged (faint) and its running mean. None without a point to draw."""
    finite = [(step, value) for step, value in points if math.isfinite(value) and value > 0]
    if not finite:
        return None
    low, high = min(value for _, value in finite), max(value for _, value in finite)
    if high < low * 1.2:
        low, high = low / 1.2, high * 1.2
    x, y = _steps(finite), Axis(low, high, BASE, TOP, log=True)
    drawing = figure(f"Training loss from {finite[0][1]:.3g} to {finite[-1][1]:.3g} over {finite[-1][0]:g} steps")
    y_axis(drawing, y, [(tick, f"{tick:g}") for tick in log_ticks(low, high)])
    _steps_axis(drawing, x)
    thinned = _thinned(finite)
    polyline(drawing, "faint", thinned, x, y)
    polyline(drawing, "curve", _running_mean(thinned), x, y)
    return markup(drawing)


def score_curve(points: Points, kept_step: int | None) -> Markup | None:
    """Validation Dice against steps, the kept step marked. None without a point to draw."""
    if not points:
        return None
    x, y = _steps(points), Axis(lower_end([value for _, value in points]), 1.0, BASE, TOP)
    drawing = figure(f"Validation Dice from {points[0][1]:.3f} to {points[-1][1]:.3f} over {points[-1][0]:g} steps")
    y_axis(drawing, y, [(tick, f"{tick:.2g}") for tick in linear_ticks(y.low, y.high)])
    _steps_axis(drawing, x)
    thinned = _thinned(points)
    polyline(drawing, "curve", thinned, x, y)
    if len(thinned) <= MOST_DOTS:
        for step, value in thinned:
            add(drawing, "circle", "dot", cx=x(step), cy=y(value), r=2)
    kept_dice = None if kept_step is None else dict(points).get(kept_step)
    if kept_step is not None and kept_dice is not None:
        add(drawing, "circle", "ring", cx=x(kept_step), cy=y(kept_dice), r=4.5)
        _mark(drawing, x(kept_step), min(BASE, y(kept_dice) + 4.5), BASE - 8, f"kept: {kept_dice:.3f}")
    return markup(drawing)


def whisker(spread: ShareSummary, low: float) -> Markup:
    """A line from `low` to 1: smallest to largest thin, mean ± standard deviation thick, the mean a dot."""
    axis = Axis(low, 1.0, 4, 116)
    drawing = add(None, "svg", "whisker", viewBox="0 0 120 16", aria_hidden="true")
    add(drawing, "line", "grid", x1=axis(low), x2=axis(1), y1=8, y2=8)
    for tick in (low, (1 + low) / 2, 1.0):
        add(drawing, "line", "grid", x1=axis(tick), x2=axis(tick), y1=5, y2=11)
    add(drawing, "line", "range", x1=axis(spread.minimum), x2=axis(spread.maximum), y1=8, y2=8)
    left, right = max(low, spread.mean - spread.sd), min(1.0, spread.mean + spread.sd)
    add(drawing, "line", "deviation", x1=axis(left), x2=axis(right), y1=8, y2=8)
    add(drawing, "circle", "dot", cx=axis(spread.mean), cy=8, r=3.5)
    return markup(drawing)


def _mark(drawing: Element, x: float, top: float, label_at: float, label: str) -> None:
    """An upright line down to the axis, with a label on the side that has more room."""
    add(drawing, "line", "mark", x1=x, x2=x, y1=top, y2=BASE)
    left = x > WIDTH / 2
    add(
        drawing,
        "text",
        "label",
        x=x - 6 if left else x + 6,
        y=label_at,
        text_anchor="end" if left else "start",
        text=label,
    )


def _stacked(cases: Sequence[CaseRow], low: float, bins: int) -> list[list[CaseRow]]:
    """The cases in equal bins of Dice from `low` to 1, lowest first within each."""
    stacks: list[list[CaseRow]] = [[] for _ in range(bins)]
    for case in sorted(cases, key=lambda case: case.dice):
        stacks[min(bins - 1, int((case.dice - low) / (1 - low) * bins))].append(case)
    return stacks


def _steps(points: Points) -> Axis:
    return Axis(0.0, max(1.0, *(step for step, _ in points)), LEFT, RIGHT)


def _steps_axis(drawing: Element, axis: Axis) -> None:
    x_axis(drawing, axis, [(tick, formats.step(tick)) for tick in linear_ticks(0.0, axis.high)], "step")


def _thinned(points: Points) -> Points:
    """Every k-th point and the last one."""
    every = math.ceil(len(points) / MOST_POINTS)
    return points if every == 1 else [*points[:-1:every], points[-1]]


def _running_mean(points: Points) -> Points:
    """Mean of the logarithm over a window of about a twentieth of the points, centred."""
    half = len(points) // 40
    logs = [math.log(value) for _, value in points]
    means = []
    for index, (step, _) in enumerate(points):
        reach = min(half, index, len(points) - 1 - index)
        window = logs[index - reach : index + reach + 1]
        means.append((step, math.exp(sum(window) / len(window))))
    return means
