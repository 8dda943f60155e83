"""Numbers and names with the bounds that any manifest keeps them in: damage ends in an error at the reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

__all__ = [
    "Channels",
    "Checksum",
    "Count",
    "Probability",
    "Range",
    "Size",
    "WorkingSize",
    "in_pixels",
    "shortest",
    "sides_of",
    "size_within",
]


def _grows(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] >= values[1]:
        raise ValueError(f"must grow, and goes from {values[0]:g} to {values[1]:g}")
    return values


def shortest(size: int | tuple[int, int]) -> int | tuple[int, int]:
    """One number for a square."""
    return size[0] if isinstance(size, tuple) and size[0] == size[1] else size


def size_within(least: int, most: int, more: str = "") -> Callable[[Any], Any]:
    """A check with one message for all that is no size, where each form of it would have one of its own.

    `more` names what else is possible, in words.
    """

    def check(size: Any) -> Any:
        sides = list(size) if isinstance(size, list | tuple) and len(size) == 2 else [size]
        sides = [int(side) if isinstance(side, str) and side.isdecimal() else side for side in sides]  # --config
        if not all(type(side) is int and least <= side <= most for side in sides):
            raise ValueError(f"a number of pixels from {least} to {most} is expected, or two: [height, width]{more}")
        return sides[0] if len(sides) == 1 else tuple(sides)

    return check


def sides_of(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width."""
    return (size, size) if isinstance(size, int) else size


def in_pixels(size: int | tuple[int, int]) -> str:
    """Height and width in words: 104 × 240."""
    return " × ".join(map(str, sides_of(size)))


Range = Annotated[tuple[float, float], AfterValidator(_grows)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # SHA-256
# Far beyond any image a model is trained on, and far below what would fill a memory.
WorkingSize = Annotated[int, Field(ge=1, le=16_384)]  # pixels
# One number for a square, else height and width; what is square is one number however it was given.
Size = Annotated[
    WorkingSize | tuple[WorkingSize, WorkingSize],
    BeforeValidator(size_within(1, 16_384), json_schema_input_type=WorkingSize | tuple[WorkingSize, WorkingSize]),
    AfterValidator(shortest),
]
Channels = Annotated[int, Field(ge=1, le=64)]
