"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = [
    "NOT_DEFINED", "count", "difference", "duration", "flatten", "p_value", "score", "seconds", "signed",
    "spread", "step",
]  # fmt: skip

NOT_DEFINED = "n/a"
_MINUS = "\N{MINUS SIGN}"
_SPACE = "\N{NO-BREAK SPACE}"


def score(value: float) -> str:
    """A Dice or IoU: 0.942."""
    return f"{value:.3f}"


def spread(mean: float, sd: float) -> str:
    """0.942 ± 0.031."""
    return f"{mean:.3f}{_SPACE}±{_SPACE}{sd:.3f}"


def difference(value: float) -> str:
    """Small numbers keep their first digits: 0.0012, 3.1e−6; zero stays 0."""
    if value == 0:
        return "0"
    text = f"{value:.4f}" if abs(value) >= 1e-3 else f"{value:.1e}".replace("e-0", "e-")
    return text.replace("-", _MINUS)


def signed(value: float) -> str:
    """A difference of scores with its sign: +0.0026, −0.0110; 0 where nothing of it is left."""
    text = f"{value:+.4f}"
    return text.replace("-", _MINUS) if float(text) else "0"


def p_value(value: float) -> str:
    """Of a test: 0.0312, < 0.0001."""
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def seconds(value: float | None) -> str:
    """A short time: 0.8 ms, 12 ms, 1.4 s, 210 s; n/a where nobody measured it."""
    if value is None:
        return NOT_DEFINED
    if value < 0.9995:
        millis = value * 1000
        return f"{millis:.{1 if millis < 9.95 else 0}f}{_SPACE}ms"
    return f"{value:.{1 if value < 99.95 else 0}f}{_SPACE}s"


def duration(value: float) -> str:
    """A long time: 40 s, 3 min 20 s, 5 h 02 min, 3 d 4 h."""
    rounded = round(value)
    if rounded < 60:
        return f"{rounded}{_SPACE}s"
    if rounded < 3600:
        return f"{rounded // 60}{_SPACE}min {rounded % 60:02d}{_SPACE}s"
    if rounded < 48 * 3600:
        return f"{rounded // 3600}{_SPACE}h {rounded % 3600 // 60:02d}{_SPACE}min"
    return f"{rounded // 86400}{_SPACE}d {rounded % 86400 // 3600}{_SPACE}h"


def count(value: int) -> str:
    """A number of parameters: 940, 13.2 k, 1.23 M, 295 M."""
    for unit, factor in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= factor:
            scaled = value / factor
            digits = max(0, 2 - math.floor(math.log10(scaled)))
            return f"{scaled:.{digits}f}{_SPACE}{unit}"
    return str(value)


def step(value: float) -> str:
    """A tick of the axis of steps: 0, 500, 2k, 1.5M."""
    for unit, factor in (("M", 10**6), ("k", 10**3)):
        if value >= factor:
            return f"{value / factor:g}{unit}"
    return f"{value:g}"


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as (dotted key, text), in their own order."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{name}.")
        else:
            yield name, _text(value)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "empty"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value) or "empty"
    return str(value)
