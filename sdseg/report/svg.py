"""SVG elements, scales and ticks: what every chart is drawn with. Colours are left to the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from markupsafe import Markup

__all__ = [
    "BASE", "HEIGHT", "LEFT", "RIGHT", "TOP", "WIDTH",
    "Axis", "Element", "Points", "add", "figure", "linear_ticks", "log_ticks", "markup", "polyline", "x_axis", "y_axis",
]  # fmt: skip

# The view box of a chart and the borders of its plot.
WIDTH, HEIGHT = 360, 196
LEFT, RIGHT, TOP, BASE = 40, 348, 14, 158

Element = ElementTree.Element
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """A scale from values to positions; logarithmic where `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)


def figure(description: str) -> Element:
    """An empty chart; `description` is what a screen reader says."""
    return add(None, "svg", "chart", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=description)


def add(
    parent: Element | None, tag: str, kind: str = "", *, text: str | None = None, **attributes: str | float
) -> Element:
    """A new element of class `kind` in `parent`. Underscores in names become hyphens; numbers are positions."""
    names = {
        name if name == "viewBox" else name.replace("_", "-"): value if isinstance(value, str) else f"{value:.1f}"
        for name, value in attributes.items()
    }
    if kind:
        names["class"] = kind
    element = ElementTree.Element(tag, names) if parent is None else ElementTree.SubElement(parent, tag, names)
    element.text = text
    return element


def markup(drawing: Element) -> Markup:
    """The drawing as text that is safe to embed: ElementTree escapes what it writes."""
    return Markup(ElementTree.tostring(drawing, encoding="unicode", short_empty_elements=False))


def x_axis(drawing: Element, axis: Axis, labels: Sequence[tuple[float, str]], title: str) -> None:
    """A line below the plot with its ticks."""
    add(drawing, "line", "axis", x1=axis.start, x2=axis.end, y1=BASE, y2=BASE)
    for tick, label in labels:
        add(drawing, "line", "axis", x1=axis(tick), x2=axis(tick), y1=BASE, y2=BASE + 4)
        add(drawing, "text", x=axis(tick), y=BASE + 17, text_anchor="middle", text=label)
    add(drawing, "text", x=axis.end, y=HEIGHT - 4, text_anchor="end", text=title)


def y_axis(drawing: Element, axis: Axis, labels: Sequence[tuple[float, str]]) -> None:
    """Faint lines across the plot, each with its value."""
    for tick, label in labels:
        add(drawing, "line", "grid", x1=LEFT, x2=RIGHT, y1=axis(tick), y2=axis(tick))
        add(drawing, "text", x=LEFT - 6, y=axis(tick) + 4, text_anchor="end", text=label)


def polyline(drawing: Element, kind: str, points: Points, x: Axis, y: Axis) -> None:
    text = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
    add(drawing, "polyline", kind, points=text)


def linear_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from low to high, at most `most` of them."""
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    width = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / width - 1e-9), math.floor(high / width + 1e-9)
    return [index * width for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten from low to high, with round values between them where there would be fewer than three."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside: list[float] = []
    for factors in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        inside = [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]
        if len(inside) >= 3:
            break
    return inside[:: math.ceil(len(inside) / 6) or 1]
