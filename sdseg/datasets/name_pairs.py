"""Which part of the names of two folders tells that files belong together: `case7` and `case7_mask`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["NamePair", "pair_names"]


@dataclass(frozen=True)
class NamePair:
    """How many names agree once what all names of a folder share is taken off, and the patterns that take it off."""

    common: int
    first_pattern: str | None = None  # regular expression with the group id; None: the names as they are
    second_pattern: str | None = None


def pair_names(first: Sequence[str], second: Sequence[str]) -> NamePair:
    """The least that is taken off names (without suffix) of two folders for as many as possible to agree."""
    best = NamePair(len(set(first) & set(second)))
    for prefix, suffix in _ends(first):
        for before, behind in _ends(second):
            ids = {name[len(prefix) : len(name) - len(suffix)] for name in first}
            others = {name[len(before) : len(name) - len(behind)] for name in second}
            common = len((ids & others) - {""})
            if common > best.common:
                best = NamePair(common, _pattern(prefix, suffix), _pattern(before, behind))
    return best


def _ends(names: Sequence[str]) -> list[tuple[str, str]]:
    """What may be taken off at both ends, the least first: what all names share, best up to a separator."""
    if len(set(names)) == 1:  # one case: what stands behind its last separator
        match = re.search(r"[_\W][A-Za-z]+$", names[0])
        return [("", ""), ("", match[0] if match else "")]
    prefix = re.sub(r"\d+$", "", _start(names))  # never a part of a number
    suffix = re.sub(r"^[^_\W]*\d[^_\W]*", "", _start([name[::-1] for name in names])[::-1])
    prefixes = ["", *re.findall(r"^.*[_\W]", prefix), prefix]
    suffixes = ["", *re.findall(r"[_\W].*$", suffix), suffix]
    return sorted({(one, other) for one in prefixes for other in suffixes}, key=lambda ends: (len("".join(ends)), ends))


def _start(names: Sequence[str]) -> str:
    """What all names begin with."""
    first, last = min(names), max(names)
    alike = next((place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), None)
    return first[:alike]


def _pattern(prefix: str, suffix: str) -> str | None:
    return f"{re.escape(prefix)}(?P<id>.+){re.escape(suffix)}" if prefix or suffix else None
