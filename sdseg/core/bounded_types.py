"""Numbers and names with the bounds that any manifest keeps them in: damage ends in an error at the reading."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

__all__ = ["Channels", "Checksum", "Count", "Probability", "Range", "WorkingSize"]


def _grows(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] >= values[1]:
        raise ValueError(f"must grow, and goes from {values[0]:g} to {values[1]:g}")
    return values


Range = Annotated[tuple[float, float], AfterValidator(_grows)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # SHA-256
# Far beyond any image a model is trained on, and far below what would fill a memory.
WorkingSize = Annotated[int, Field(ge=1, le=16_384)]  # pixels
Channels = Annotated[int, Field(ge=1, le=64)]
