"""What the studies of a model left beside its scores, as typed records; what a newer stage adds is ignored."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pydantic import Field, FiniteFloat

from sdseg.artifacts.results.record import FORMAT, Memory, Record
from sdseg.core.bounded_types import Size

__all__ = [
    "STUDIES",
    "Efficiency",
    "HarmLevel",
    "Latency",
    "LatentPicture",
    "Latents",
    "Line",
    "LineChart",
    "MeanScores",
    "Measurement",
    "NetworkPart",
    "Robustness",
    "RobustnessCurve",
    "ShownSlice",
    "Stability",
    "Study",
    "StudyKind",
    "StudyRecords",
    "Sweep",
    "SweepRow",
    "TitledPicture",
    "Volume",
]


ROOM = 0.02  # of Dice, above and below the lines of a chart
Line = tuple[tuple[int, float], ...]  # points


@dataclass(frozen=True)
class LineChart:
    """Dice against whole numbers, a line per name: drawn as SVG for the page and as PNG beside the file."""

    title: str
    description: str  # for those who do not see it
    across: str  # what the numbers are
    ticks: tuple[int, ...]
    lines: dict[str, Line]
    details: dict[str, str] = field(default_factory=dict)  # name of a line -> what more there is to say of it
    remarks: tuple[str, ...] = ()
    logarithmic: bool = False

    @property
    def dice_range(self) -> tuple[float, float]:
        """In twentieths, with some room, so that chance does not fill a chart."""
        values = [dice for line in self.lines.values() for _, dice in line]
        low, high = max(0.0, min(values) - ROOM), min(1.0, max(values) + ROOM)
        return math.floor(low * 20) / 20, math.ceil(high * 20) / 20


class Study(Record):
    """What the file of every study begins with."""

    format: int = FORMAT
    study: str = ""
    dataset: str = ""
    origin: str = ""
    protocol: str = ""
    recipe: str = ""
    backend: str
    split: str
    n_cases: int
    n_slices: int
    size: Size
    data_checksum: str
    model_checksum: str
    provenance: dict[str, Any] = Field(default_factory=dict)

    @property
    def chart(self) -> LineChart | None:
        """None where nothing is drawn."""
        return None


class SweepRow(Record):
    """One pair of steps and samples; without figures there is a reason."""

    steps: int
    samples: int
    dice: FiniteFloat | None = None
    dice_sd: FiniteFloat | None = None  # over cases
    iou: FiniteFloat | None = None
    seconds_per_image: FiniteFloat | None = None
    reason: str | None = None


class Sweep(Study):
    rows: tuple[SweepRow, ...]

    @property
    def chart(self) -> LineChart | None:
        """Dice against reverse steps, a line per number of samples (the paper's Figure 3)."""
        lines: dict[str, Line] = {}
        for row in sorted(self.rows, key=lambda row: (row.samples, row.steps)):
            if row.dice is not None:
                name = f"{row.samples} sample{'s' if row.samples > 1 else ''}"
                lines[name] = (*lines.get(name, ()), (row.steps, row.dice))
        if not lines:
            return None
        steps = tuple(sorted({at for line in lines.values() for at, _ in line}))
        return LineChart(
            title="Dice by reverse steps",
            description=f"Dice against reverse steps from {steps[0]} to {steps[-1]}",
            across="reverse steps",
            ticks=steps,
            lines=lines,
            remarks=tuple(f"Left out: {reason}." for reason in sorted({row.reason for row in self.rows if row.reason})),
            logarithmic=len(steps) > 1,
        )


class Measurement(Record):
    """A figure, "inf" where it has no bound, or a reason why there is none."""

    value: FiniteFloat | Literal["inf"] | None = None
    reason: str | None = None
    images_identical: int | None = None  # left out of the PSNR, which has no bound there


class Stability(Study):
    runs: int
    seeds: tuple[int, ...] = ()
    pictures: int
    pairs: int
    identical_pairs: dict[str, int] = Field(default_factory=dict)  # of masks, of probabilities
    identical: bool
    dice: tuple[FiniteFloat, ...]
    instance_level: dict[str, dict[str, Measurement]]  # masks, probabilities -> psnr, ssim, ms_ssim
    dataset_level: dict[str, dict[str, Measurement]]


class MeanScores(Record):
    """Means over the cases."""

    dice: FiniteFloat
    dice_sd: FiniteFloat | None = None
    iou: FiniteFloat | None = None
    seconds_per_image: FiniteFloat | None = None  # where it was measured


class HarmLevel(Record):
    level: int
    strength: int | FiniteFloat
    dice: FiniteFloat
    dice_sd: FiniteFloat | None = None
    iou: FiniteFloat | None = None


class RobustnessCurve(Record):
    kind: str
    unit: str = ""
    levels: tuple[HarmLevel, ...]


class Robustness(Study):
    clean: MeanScores
    curves: tuple[RobustnessCurve, ...]

    @property
    def chart(self) -> LineChart | None:
        """Dice against the level of harm, 0 being none, a line per kind."""
        if not self.curves:
            return None
        clean = (0, self.clean.dice)
        lines = {curve.kind: (clean, *((level.level, level.dice) for level in curve.levels)) for curve in self.curves}
        lowest = min(dice for line in lines.values() for _, dice in line)
        strengths = {curve.kind: ", ".join(f"{level.strength:g}" for level in curve.levels) for curve in self.curves}
        return LineChart(
            title="Dice when images get worse",
            description=f"Dice of harmed images: clean {self.clean.dice:.3f}, lowest {lowest:.3f}",
            across="level (0: clean)",
            ticks=tuple(range(1 + max(1, *(at for line in lines.values() for at, _ in line)))),
            lines=lines,
            details={curve.kind: f", strengths {strengths[curve.kind]} {curve.unit}" for curve in self.curves},
        )


class NetworkPart(Record):
    part: str
    parameters: int
    flops: int


class Latency(Record):
    seconds_median: FiniteFloat
    seconds_p90: FiniteFloat
    images_per_second: FiniteFloat
    calls: int | None = None
    batch: int


class Efficiency(Study):
    parts: tuple[NetworkPart, ...] | None = None
    parameters: int | None = None
    flops: int | None = None
    inference: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    reason: str | None = None
    latency: tuple[Latency, ...]
    memory: Memory
    device: str
    threads: int | None = None


class ShownSlice(Record):
    case: str
    slice: int
    structure: str
    dice: FiniteFloat | None = None  # of decode(encode(mask))


class LatentPicture(Record):
    """A picture below the evaluation folder, or the reason why there is none."""

    file: str | None = None
    reason: str | None = None
    cases: tuple[ShownSlice, ...] = ()
    relative_change: FiniteFloat | None = None  # of the condition by training


class Latents(Study):
    masks: LatentPicture
    conditions: LatentPicture


@dataclass(frozen=True)
class StudyKind:
    """A study in `<name>.json` of an evaluation folder."""

    record: type[Study]
    options: str  # of `sdseg evaluate`, which ask for it
    shows: str
    files: tuple[str, ...]  # all that it writes


STUDIES = {
    "sweep": StudyKind(Sweep, "--sweep", "Dice by reverse steps (Figure 3)", ("sweep.*",)),
    "stability": StudyKind(Stability, "--stability 5", "stability over repeated runs (Table 5)", ("stability.json",)),
    "robustness": StudyKind(Robustness, "--robustness", "Dice when images get worse", ("robustness.*",)),
    "efficiency": StudyKind(
        Efficiency, "--efficiency", "parameters, FLOPs, latency and memory (Table 4)", ("efficiency.json",)
    ),
    "latents": StudyKind(
        Latents,
        "--latents --codec CODEC",
        "latents of masks and conditions (Figures 2 and 6)",
        ("latents.json", "latents/*.png"),
    ),
}
OneStudy = TypeVar("OneStudy", bound=Study)


@dataclass(frozen=True)
class TitledPicture:
    """A picture of `latents/`, or why there is none."""

    title: str
    png: bytes | None
    reason: str


class Volume(Record):
    """One volume to be scrolled: `volumes/<rank>.json`."""

    case: str
    rank: str
    dice: FiniteFloat
    size: Size
    slices: int = Field(ge=2)
    columns: int = Field(ge=1)
    tile: Size  # of a slice in the picture, pixels
    channel: str = ""  # that is shown, of several
    first: int = Field(ge=0)  # what is shown first: the largest label
    label: tuple[str, ...]  # outlines, one path per slice
    prediction: tuple[str, ...]
    webp: bytes = Field(b"", exclude=True)  # the picture beside it


@dataclass(frozen=True)
class StudyRecords:
    """Every study of a model that was run, by its name."""

    by_name: dict[str, Study]
    pictures: tuple[TitledPicture, ...] = ()

    def of(self, record: type[OneStudy]) -> OneStudy | None:
        """The study with this record; None where it was not run."""
        return next((study for study in self.by_name.values() if isinstance(study, record)), None)

    def stale(self, model_checksum: str) -> tuple[str, ...]:
        """The studies that were made with another model than the one that was scored."""
        return tuple(name for name, study in self.by_name.items() if study.model_checksum != model_checksum)
