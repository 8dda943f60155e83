"""What a configuration says of a dataset of the user's own: how its files lie and what its masks mean."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from sdseg.config.channels import channel_problems
from sdseg.config.chosen_recipes import ChosenRecipes
from sdseg.config.normalisation import (
    AnyNormalisation,
    ChannelName,
    ChannelNormalisation,
    ChannelWindow,
    FixedWindow,
    Percentiles,
    PerVolume,
    Value,
)
from sdseg.config.shape import AutoSize, DatasetSize, Fit, Slicing, Spacing
from sdseg.config.tiles import TILES_OF_VOLUMES, Tiles
from sdseg.core.errors import nearest
from sdseg.core.settings import Name, Place, Seed, Strict, parse, read_yaml

__all__ = ["Dataset", "Draw", "Own", "load_dataset"]

Word = Annotated[str, Field(min_length=1, pattern=r"^\S(.*\S)?$")]
Level = Annotated[int, Field(ge=0, le=255)]
NONZERO = "nonzero"
Values = Annotated[int, Field(ge=0, le=65_535)] | Annotated[str, Field(pattern=r"^(nonzero|\d{1,5}-\d{1,5})$")]
Label = Annotated[int, Field(ge=0, le=65535)]
Share = Annotated[float, Field(gt=0, lt=1)]
GIVEN_BY = {  # what each layout is told in the configuration, besides what all of them are
    "folders": ("images", "masks"),
    "nnunet": (),
    "table": ("table",),
}
LEAST_DISTANCE = 16  # between grey levels that JPEG or resizing may have blurred


def _outside(place: str) -> bool:
    return PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts


class Draw(Strict):
    """How a split is drawn where none is given: whole groups, by a seed, into shares of the cases."""

    seed: Seed = 0
    fractions: tuple[Share, Share, Share] = (0.8, 0.1, 0.1)  # train, val, test
    # Lists of ids that are drawn as one group, besides the groups that are known: copies of the same picture.
    together: tuple[tuple[str, ...], ...] = Field((), exclude_if=lambda cases: not cases)

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if any(not math.isfinite(share) or share <= 0 for share in self.fractions):
            raise ValueError("'fractions' must all be above 0: training, validation and test need cases")
        if abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError(f"'fractions' must sum to 1, not {sum(self.fractions):g}")
        if any(len(set(cases)) < 2 for cases in self.together):
            raise ValueError("'together' is a list of lists of two ids or more, for example [[case3, case8]]")
        return self


class Own(Strict):
    """A dataset that this package does not know: `source: own`."""

    layout: Literal["folders", "nnunet", "table"]
    # rgb: images, grey ones too; ct: volumes in Hounsfield units, NIfTI or DICOM; mr, pet, ultrasound, other: volumes
    # whose values have no fixed scale.
    modality: Literal["rgb", "ct", "mr", "pet", "ultrasound", "other"]
    title: Word = "own data"
    # folders: where the images lie, below the raw folder: a folder, or a pattern with the case's id in braces, as
    # '{id}/{id}_t1.nii.gz'; masks, channels and annotators likewise.
    images: str | None = None
    masks: str | None = None
    # Several files per case, each a channel that the model sees: its name, and its place (folders) or the column of
    # its files (table), in the place of images. nnunet: dataset.json names them.
    channels: dict[ChannelName, str] = Field(default_factory=dict, exclude_if=lambda named: not named)
    # The channel that pictures show; default: the first.
    shown_channel: ChannelName | None = Field(None, exclude_if=lambda name: name is None)
    image_name: str | None = None  # folders: regular expression of the name without suffix; its group 'id' pairs files
    mask_name: str | None = None
    # Several masks per case, each by another person: his name, and the folder (folders) or the column (table) of his
    # masks. Where they lie in one folder and their names tell who drew: a group 'annotator' in mask_name.
    annotators: dict[Name, str] = Field(default_factory=dict, exclude_if=lambda named: not named)
    table: str | None = None  # table: CSV file below the raw folder with image, mask and, if known, id, group, split
    labels: dict[Annotated[int, Field(ge=1, le=255)], Word] = Field(default_factory=dict)  # nnunet: in dataset.json
    # Value in the file, range as "1-40", or nonzero for every other value above 0: label. Default: they are the labels.
    mask_values: dict[Values, Level] = Field(default_factory=dict)
    lossy_masks: bool = False  # true: masks are JPEG or were resized; values between two levels go to the nearer
    targets: dict[Name, dict[Word, tuple[Label | str, ...]]] = Field(default_factory=dict)  # default: every label
    windows: dict[Name, tuple[Value, Value]] = Field(default_factory=dict)  # these values become -1 and 1
    # Volumes: window (of ct the default), or by each volume's own percentiles (of the others), z-score or min-max; one
    # for all channels, or one for each by its name.
    normalisation: AnyNormalisation | None = Field(None, exclude_if=lambda how: how is None)
    group_pattern: str | None = None  # regular expression on the id; what it captures is the patient or sequence

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = [
            *self._layout(),
            *channel_problems(self.layout, self.channels, self.images, self.shown_channel, self.normalisation),
            *self._annotators(),
            *self._patterns(),
            *self._meaning(),
            *self._targets(),
            *self._windows(),
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def per_volume(self) -> PerVolume | None:
        """How each volume is normalised by itself; None where all are seen through a window, and for images.

        None too where channels differ in it: see `by_channel`.
        """
        if isinstance(self.normalisation, dict):
            first, *others = self.normalisation.values()
            alike = not isinstance(first, ChannelWindow) and all(other == first for other in others)
            return first if alike and not isinstance(first, ChannelWindow) else None
        if isinstance(self.normalisation, FixedWindow):
            return None
        return self.normalisation or (None if self.modality in ("rgb", "ct") else Percentiles())

    @property
    def by_channel(self) -> dict[str, ChannelNormalisation]:
        """How each channel is normalised, by its name, where they differ in it; else empty."""
        return self.normalisation if isinstance(self.normalisation, dict) and self.per_volume is None else {}

    @property
    def exact_values(self) -> dict[int, int]:
        """Single values of a mask that `mask_values` declares, with their labels."""
        return {value: label for value, label in self.mask_values.items() if isinstance(value, int)}

    @property
    def value_ranges(self) -> tuple[tuple[int, int, int], ...]:
        """First value, last value and label of each range that `mask_values` declares; the widest, nonzero, first."""
        words = {value: label for value, label in self.mask_values.items() if isinstance(value, str)}
        spans = [(1, 65_535, label) for value, label in words.items() if value == NONZERO]
        for value, label in words.items():
            if value != NONZERO:
                first, last = (int(end) for end in value.split("-"))
                spans.append((first, last, label))
        return tuple(spans)

    def _layout(self) -> Iterator[str]:
        elsewhere = {"masks": self.annotators, "images": self.channels}  # what may stand in a key's place
        needed = tuple(key for key in GIVEN_BY[self.layout] if not elsewhere.get(key))
        for key in ("images", "masks", "table"):
            value = getattr(self, key)
            if key in needed and value is None:
                yield f"'layout: {self.layout}' needs '{key}'"
            if key not in GIVEN_BY[self.layout] and value is not None:
                yield f"'{key}' does not belong to 'layout: {self.layout}'"
            if value is not None and _outside(value):
                yield f"'{key}' must lie below the raw folder, not at '{value}'"
        for place in self.channels.values() if self.layout == "folders" else ():
            if _outside(place):
                yield f"'channels' must lie below the raw folder, not at '{place}'"
        if self.masks is not None and self.masks in (self.images, *self.channels.values()):
            yield "'images' and 'masks' are the same folder"

    def _annotators(self) -> Iterator[str]:
        if not self.annotators:
            return
        places = list(self.annotators.values())
        if self.layout == "nnunet":
            yield "'annotators' does not belong to 'layout: nnunet'"
        if len(places) == 1:
            yield "'annotators' names one: leave it out, and say 'masks'"
        if len(set(places)) < len(places) or {self.images, *self.channels.values()} & set(places):
            yield "'annotators' names one place twice"
        if self.masks is not None:
            yield "'masks' and 'annotators' both say where masks lie: keep one of them"
        for place in places if self.layout == "folders" else ():
            if _outside(place):
                yield f"'annotators' must lie below the raw folder, not at '{place}'"

    def _patterns(self) -> Iterator[str]:
        for key in ("image_name", "mask_name", "group_pattern"):
            pattern = getattr(self, key)
            if pattern is None:
                continue
            if key != "group_pattern" and self.layout != "folders":
                yield f"'{key}' does not belong to 'layout: {self.layout}'"
            try:
                compiled = re.compile(pattern)
            except re.error as error:
                yield f"'{key}' is no regular expression: {error}"
                continue
            if key != "group_pattern" and "id" not in compiled.groupindex:
                yield f"'{key}' needs a group named id, for example '(?P<id>.+)_mask'"
            if key == "mask_name" and "annotator" in compiled.groupindex and self.annotators:
                yield "the group 'annotator' of 'mask_name' and 'annotators' both say who drew a mask: keep one of them"
            if key == "group_pattern" and compiled.groups != 1:
                yield r"'group_pattern' needs exactly one group in brackets, for example '^(patient\d+)_'"

    def _meaning(self) -> Iterator[str]:
        if self.layout == "nnunet":
            if self.labels or self.mask_values or self.lossy_masks:
                yield "with 'layout: nnunet' labels are named in dataset.json and masks hold their numbers"
            return
        if not self.labels:
            yield f"'layout: {self.layout}' needs 'labels', for example {{1: polyp}}"
        if len(set(self.labels.values())) < len(self.labels):
            yield "two 'labels' have the same name"
        unknown = sorted(set(self.mask_values.values()) - {0, *self.labels})
        if unknown:
            yield f"'mask_values' lead to {unknown}, which 'labels' do not name"
        unreached = sorted(set(self.labels) - set(self.mask_values.values())) if self.mask_values else []
        if unreached:
            yield f"no value of 'mask_values' leads to label {unreached}"
        spans = [span for span in self.value_ranges if span[:2] != (1, 65_535)]
        spans += [(value, value, label) for value, label in self.exact_values.items()]
        for (first, last, _), (then, until, _) in pairwise(sorted(spans)):
            if then <= last:
                yield f"'mask_values' declares {then} twice: in {first}-{last} and in {then}-{until}"
        wrong = [f"{first}-{last}" for first, last, _ in spans if first > last or last > 65_535]
        if wrong:
            yield f"'mask_values' has ranges that are none: {', '.join(wrong)} (the smaller number first, up to 65535)"
        if self.lossy_masks:
            levels = sorted({*self.exact_values, 0})
            near = any(high - low < LEAST_DISTANCE for low, high in pairwise(levels))
            if self.modality != "rgb" or not self.mask_values or near or self.value_ranges or levels[-1] > 255:
                yield f"'lossy_masks' needs images with 'mask_values' at least {LEAST_DISTANCE} apart"

    def _targets(self) -> Iterator[str]:
        names = {str(name) for name in self.labels.values()}
        for target, structures in self.targets.items():
            if not structures:
                yield f"target '{target}' has no structure"
            for structure, members in structures.items():
                if not members:
                    yield f"structure '{structure}' of target '{target}' has no label"
                if self.layout == "nnunet":
                    continue  # named in dataset.json, which is read later
                for member in members:
                    if member not in (names if isinstance(member, str) else self.labels):
                        suggestion = nearest(str(member), [*names, *map(str, self.labels)])
                        yield f"target '{target}' names label '{member}', {suggestion}"

    def _windows(self) -> Iterator[str]:
        if self.modality == "rgb":
            if self.windows:
                yield "'windows' are for 'modality: ct'; images are taken from 0 to 255"
            if self.normalisation is not None:
                yield "'normalisation' is for volumes, and 'modality: rgb' are images: they are taken from 0 to 255"
        elif self.per_volume is not None and self.windows:
            chosen = f"'normalisation: {{method: {self.per_volume.method}}}'"
            default = "" if self.normalisation is not None else f", the default of 'modality: {self.modality}'"
            yield (
                f"'windows' do not belong to {chosen}{default}: leave them out, or say 'normalisation: {{method: "
                "window}' where every volume has the same units"
            )
        elif self.by_channel:
            if self.windows:
                yield (
                    "'windows' do not belong to a 'normalisation' by channel: leave them out, and give a channel of "
                    "raw values {method: window, low: …, high: …}"
                )
        elif self.per_volume is None and not self.windows:
            example = "{abdomen: [-175, 250]}" if self.modality == "ct" else "{all: [0, 4000]}"
            asker = (
                f"'modality: {self.modality}'" if self.normalisation is None else "'normalisation: {method: window}'"
            )
            yield f"{asker} needs 'windows', for example {example}"
        for name, (low, high) in self.windows.items():
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                yield f"window '{name}' must be two numbers, the lower one first"


class Dataset(Strict):
    """One dataset of a run: where it lies, how it is split, what is segmented, at which size."""

    source: Name  # whose layout and labels (datasets/sources); or own
    own: Own | None = None  # with 'source: own': layout and labels of a dataset of your own
    raw: Place | None = None  # folder with the files as their owner ships them; default <raw>/<name>
    accept_terms: bool = False  # true: you have read and accept the owner's terms (sets fetched through an account)
    origin: Literal["real", "sample", "phantom"] = "real"
    protocol: Name = "clean"
    split_file: Place | None = None  # default <splits>/<source>/<protocol>.csv
    split: Draw | None = None  # how a split is drawn where there is no split file
    allow_missing: bool = False  # true: cases of the split file that are not on disk are left out
    # allow: a case has the masks of some annotators alone (what does not differ from the default is written nowhere)
    missing_annotators: Literal["refuse", "allow"] = Field("refuse", exclude_if=lambda chosen: chosen == "refuse")
    target: str | None = None  # what to segment, a preset of the source; default: the source's first
    exclusive: bool | None = None  # true: a pixel belongs to one structure at most; default: where no two share a label
    window: str | None = None  # intensity window, a preset of the source (volumes only); default: the source's first
    # Height and width; one number for both; auto: chosen from the training images. With `tiles` those of one.
    size: DatasetSize = 256
    tiles: Tiles | None = Field(None, exclude_if=lambda tiles: tiles is None)  # images larger than `size`: not squeezed
    slicing: Slicing = Field("axial", exclude_if=lambda chosen: chosen == "axial")  # of volumes: how slices lie
    # Of volumes: mm between rows and columns that slices are resampled to, or the median of the training volumes'.
    spacing: Spacing = Field("none", exclude_if=lambda chosen: chosen == "none")
    fit: Fit = Field("crop", exclude_if=lambda chosen: chosen == "crop")  # with `spacing`: of slices larger than `size`
    max_pixels: int | None = Field(None, ge=1, le=1 << 40)  # of an image that is read; default: 2^28, 16384²
    max_voxels: int | None = Field(None, ge=1, le=1 << 40)  # of a volume that is read; default: 2^30, 1024³
    recipes: ChosenRecipes | None = None  # default: every recipe; as a mapping, each with `overrides` of its own
    overrides: dict[str, Any] = Field(default_factory=dict)  # laid over every recipe of this dataset

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.source == "own") != (self.own is not None):
            raise ValueError("'source: own' and a section 'own' belong together")
        if self.own is not None and self.origin == "phantom":
            raise ValueError("phantoms stand in for known sources; with 'source: own' name the folder of your files")
        if self.split is not None and self.split_file is not None:
            raise ValueError("give either 'split_file' or 'split' (how one is drawn), not both")
        if self.tiles is not None and self.own is not None and self.own.modality != "rgb":
            raise ValueError(TILES_OF_VOLUMES.format(modality=self.own.modality))
        if self.tiles is not None and isinstance(self.size, AutoSize):
            raise ValueError("with 'tiles' the size is that of a tile: give one number, or height and width")
        if self.fit != "crop" and self.spacing == "none":
            raise ValueError("'fit' is of slices that are resampled: give 'spacing', or leave it out")
        return self


def load_dataset(path: Path) -> Dataset:
    return parse(Dataset, read_yaml(path), where=str(path))
