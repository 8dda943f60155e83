"""How the values of volumes are brought to one scale, where a scanner gives them none: by statistics of each volume.

Of several channels each is brought there by itself; where they differ in kind (a PET beside a CT) each has its own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from sdseg.core.settings import ALL_CHANNELS, BY_CHANNEL, Strict

__all__ = [
    "CHANNEL_NAME",
    "AnyNormalisation",
    "ChannelName",
    "ChannelNormalisation",
    "ChannelWindow",
    "FixedWindow",
    "MinMax",
    "Normalisation",
    "PerVolume",
    "Percentiles",
    "Value",
    "ZScore",
]

# Of a channel, as `--channel NAME=PATH` takes it.
CHANNEL_NAME = r"^[^\s=/\\](?:[^=/\\]{0,48}[^\s=/\\])?$"
ChannelName = Annotated[str, Field(pattern=CHANNEL_NAME)]
Value = Annotated[float, Field(ge=-1e9, le=1e9)]  # of a voxel
Percent = Annotated[float, Field(ge=0, le=100)]
Deviations = Annotated[float, Field(ge=-1000, le=1000)]


class _Range(Strict):
    """Two ends, the lower one first."""

    low: Deviations
    high: Deviations

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"'low' must be below 'high', and is {self.low:g} where that is {self.high:g}")
        return self


class Percentiles(_Range):
    """Two percentiles of each volume become 0 and 1; values outside are clipped."""

    method: Literal["percentiles"] = "percentiles"
    low: Percent = 0.5
    high: Percent = 99.5
    nonzero: bool = False  # true: of the voxels that are not 0, where the background was set to 0

    @property
    def window(self) -> tuple[float, float]:
        """The normalised values that a model's first layer takes to -1 and 1."""
        return 0.0, 1.0


class ZScore(_Range):
    """Standard deviations from the mean of each volume; those outside `low` and `high` are clipped."""

    method: Literal["z-score"]
    low: Deviations = -3.0
    high: Deviations = 5.0
    nonzero: bool = False

    @property
    def window(self) -> tuple[float, float]:
        return self.low, self.high


class MinMax(Strict):
    """The smallest and the largest value of each volume become 0 and 1."""

    method: Literal["min-max"]

    @property
    def window(self) -> tuple[float, float]:
        return 0.0, 1.0


class FixedWindow(Strict):
    """Raw values, seen through one window for all volumes: for scanners with units, as CT has them."""

    method: Literal["window"]


PerVolume = Percentiles | ZScore | MinMax
Normalisation = Annotated[Percentiles | ZScore | MinMax | FixedWindow, Field(discriminator="method")]


class ChannelWindow(Strict):
    """Raw values of one channel among several, seen through a window of its own: a CT beside a PET."""

    method: Literal["window"]
    low: Value
    high: Value

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"'low' must be below 'high', and is {self.low:g} where that is {self.high:g}")
        return self

    @property
    def window(self) -> tuple[float, float]:
        return self.low, self.high


ChannelNormalisation = Annotated[Percentiles | ZScore | MinMax | ChannelWindow, Field(discriminator="method")]


def _form(value: Any) -> str:
    """Whether one method is meant for all channels, or one for each by its name."""
    by_channel = isinstance(value, dict) and not isinstance(value.get("method", {}), str)
    return BY_CHANNEL if by_channel else ALL_CHANNELS


AnyNormalisation = Annotated[
    Annotated[Normalisation, Tag(ALL_CHANNELS)]
    | Annotated[dict[ChannelName, ChannelNormalisation], Field(min_length=1), Tag(BY_CHANNEL)],
    Discriminator(_form),
]
