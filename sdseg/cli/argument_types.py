"""What the text of an argument may stand for: paths and numbers within bounds, each refused in words."""

from __future__ import annotations

import argparse
import math
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sdseg.core.shipped_files import SHIPPED

__all__ = ["MANY", "SEEDS", "ShowFiles", "named_path", "number", "path", "several", "switch_or_number", "whole"]

MANY = 1_000_000_000
SEEDS = 2**32 - 1  # the largest seed
Value = TypeVar("Value", int, float)


def path(text: str) -> Path:
    """A path; an empty text, as of a variable that is not set, would be the working directory."""
    if not text.strip():
        raise ArgumentTypeError("an empty path; name a file or folder ('.' for the working directory)")
    return Path(text)


def named_path(text: str) -> tuple[str, Path]:
    """NAME=PATH."""
    name, sign, place = text.partition("=")
    if not sign or not name.strip():
        raise ArgumentTypeError(f"'{_short(text)}' is not NAME=PATH, as in T1=scans/t1")
    return name.strip(), path(place)


def whole(least: int = 1, most: int = MANY) -> Callable[[str], int]:
    """A whole number within bounds, both included."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise ArgumentTypeError(f"'{_short(text)}' is no whole number from {least} to {most}")
        return value

    return read


def number(least: float, most: float, *, above: bool = False) -> Callable[[str], float]:
    """A finite number within bounds, both included; `above` leaves the lower one out."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or (above and value == least):
            bounds = f"above {least:g}, up to {most:g}" if above else f"from {least:g} to {most:g}"
            raise ArgumentTypeError(f"'{_short(text)}' is no number {bounds}")
        return value

    return read


def several(read: Callable[[str], Value], example: str, count: int | None = None) -> Callable[[str], tuple[Value, ...]]:
    """Numbers with commas between them, `count` of them where it is given."""

    def read_all(text: str) -> tuple[Value, ...]:
        parts = text.split(",")
        if count is not None and len(parts) != count:
            raise ArgumentTypeError(
                f"'{_short(text)}' is not {count} numbers with commas between them, as in {example}"
            )
        try:
            return tuple(map(read, parts))
        except ArgumentTypeError as error:
            raise ArgumentTypeError(f"{error}; numbers with commas are expected, as in {example}") from None

    return read_all


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


def switch_or_number(least: int, most: int) -> type[argparse.Action]:
    """An action for `--name`, `--name N` and `--no-name`: True, a whole number within bounds, or False."""

    class SwitchOrNumber(argparse.BooleanOptionalAction):
        def __init__(self, option_strings: Sequence[str], dest: str, **more: Any) -> None:
            super().__init__(option_strings, dest, **more)
            self.nargs, self.metavar, self.type = "?", "N", whole(least, most)

        def __call__(
            self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
        ) -> None:
            off = option is not None and option.startswith("--no-")
            if off and values is not None:
                parser.error(f"argument {option}: takes no number")
            setattr(namespace, self.dest, not off if values is None else values)

    return SwitchOrNumber


class ShowFiles(argparse.Action):
    """Prints where config/, resources/ and workflow/ lie, and ends."""

    def __init__(self, option_strings: Sequence[str], dest: str, **more: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, **more)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(SHIPPED)
        parser.exit()
