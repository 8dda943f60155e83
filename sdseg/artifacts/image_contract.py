"""What a model takes and gives: its input images, how they come to it, and the structures it finds."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sdseg.config.network import MOST_NEIGHBOURS
from sdseg.config.normalisation import ChannelNormalisation, PerVolume
from sdseg.config.shape import Plane, Resampling
from sdseg.config.tiles import Tiles
from sdseg.core.bounded_types import Channels, Range, Size, sides_of

__all__ = ["ImageContract", "Intensities", "StoredType", "StrictRecord", "Structure", "Structures"]

StoredType = Literal["uint8", "int16", "uint16", "int32", "float16", "float32"]


class StrictRecord(BaseModel):
    """Frozen, without unknown keys, without numbers that are not finite."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False, defer_build=True
    )


def _distinct(structures: tuple[Structure, ...]) -> tuple[Structure, ...]:
    names = [each.name for each in structures]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"names '{twice[0]}' twice")
    return structures


class Structure(StrictRecord):
    """One thing to segment: the label ids that make it up. Structures may overlap (the disc contains the cup)."""

    name: str = Field(min_length=1)
    values: tuple[int, ...] = Field(min_length=1)


Structures = Annotated[tuple[Structure, ...], Field(min_length=1), AfterValidator(_distinct)]


class Intensities(StrictRecord):
    """How the raw values of the training images lay, at their native size: what an input is held against.

    Triples are the smallest, the median and the largest of all training cases.
    """

    cases: int
    low: float  # smallest value in any of them
    high: float  # largest
    p1: tuple[float, float, float]  # 1st percentile
    p50: tuple[float, float, float]
    p99: tuple[float, float, float]
    width: tuple[float, float, float]  # from the 1st to the 99th percentile


class ImageContract(StrictRecord):
    """What a model wants as input: enough to feed it a file of the user's own."""

    modality: str = Field(pattern="^(rgb|ct|mr|pet|ultrasound|other)$")
    size: Size  # working height and width; one number for both; with `tiles` of one of them
    channels: Channels  # 3 for rgb, 1 for volumes; of several files per case as many as these
    # Of several files per case: what each holds, in the order of the channels; none: a grey or colour image, a volume.
    channel_names: tuple[str, ...] = Field((), exclude_if=lambda names: not names)
    shown_channel: int = Field(0, ge=0, exclude_if=lambda number: not number)  # that pictures show
    slicing: Plane = Field("axial", exclude_if=lambda plane: plane == "axial")  # of volumes: data/slicing.py
    resampling: Resampling | None = Field(None, exclude_if=lambda how: how is None)  # of slices, by mm: data/fit.py
    # Slices on each side that a model sees beside its own, as further channels: data/neighbours.py. A store has none.
    neighbours: int = Field(0, ge=0, le=MOST_NEIGHBOURS, exclude_if=lambda count: not count)
    window: Range  # these two raw values become -1 and 1; values outside are clipped
    # How each whole volume is brought to the values that `window` is of: data/normalise.py. None: they are its own.
    normalisation: PerVolume | None = Field(None, discriminator="method", exclude_if=lambda how: how is None)
    # The same by channel, where they differ in it: each then goes from 0 to 1, and so does `window`.
    normalisations: tuple[ChannelNormalisation, ...] = Field((), exclude_if=lambda ways: not ways)
    train_clip: Range | None = None  # in training raw values are clipped here instead (published quirk)
    stretch: bool = (
        False  # evaluated volumes span the window by themselves: data/transforms.py `stretch` (published quirk)
    )
    dtype: StoredType = "int16"  # in which raw values are kept; where it is left out uint8 for rgb, int16 for ct
    intensities: Intensities | None = None  # of the training images; None where they were not recorded
    channel_intensities: tuple[Intensities, ...] = Field((), exclude_if=lambda each: not each)  # of several, by channel
    # Millimetres between the voxels of the training volumes at the working size, along depth, height and width: of a
    # three-dimensional model. None where they were not recorded; a store has none.
    spacing: tuple[float, float, float] | None = Field(None, exclude_if=lambda lengths: lengths is None)

    # How images of any size are seen in tiles of `size`: backends/tiled.py. None: they are resized to `size`.
    tiles: Tiles | None = Field(None, exclude_if=lambda tiles: tiles is None)

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns at which a slice of this native size is looked at."""
        return self.sides if self.tiles is None else self.tiles.scaled(height, width)

    @property
    def sides(self) -> tuple[int, int]:
        """Working height and width."""
        return sides_of(self.size)

    @property
    def fed_channels(self) -> int:
        """Channels of an image as the model is fed: those of each slice it sees, one slice after the other."""
        return self.channels * (2 * self.neighbours + 1)

    @property
    def planes(self) -> int:
        """Channels of a slice as the networks see it: a grey one is repeated in the place of three colours."""
        return 3 if self.channels == 1 else self.channels

    @property
    def is_normalised(self) -> bool:
        """Whether values are brought to one scale before the window: by statistics, or by a window for each channel."""
        return self.normalisation is not None or bool(self.normalisations)

    @model_validator(mode="after")
    def _channels_have_names(self) -> Self:
        for what, given in (("names", self.channel_names), ("normalisations", self.normalisations)):
            if given and len(given) != self.channels:
                raise ValueError(f"{len(given)} {what} of {self.channels} channels")
        if self.shown_channel >= self.channels:
            raise ValueError(f"'shown_channel' is {self.shown_channel}, of {self.channels} channels counted from 0")
        return self

    @model_validator(mode="before")
    @classmethod
    def _usual_type(cls, data: Any) -> Any:
        """The type of contracts that were written before there were others."""
        if isinstance(data, dict) and data.get("dtype") is None:
            return data | {"dtype": "uint8" if data.get("modality") == "rgb" else "int16"}
        return data
