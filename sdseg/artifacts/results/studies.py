"""What the studies of a model left beside its scores, as typed records; what a newer stage adds is ignored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, FiniteFloat

from sdseg.artifacts.results.record import FORMAT, Memory, Record

__all__ = [
    "STUDIES",
    "Efficiency",
    "HarmLevel",
    "Latency",
    "LatentPicture",
    "Latents",
    "Line",
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


Line = tuple[tuple[int, float], ...]  # points


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
    size: int
    data_checksum: str
    model_checksum: str
    provenance: dict[str, Any] = Field(default_factory=dict)


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
    def lines(self) -> dict[str, Line]:
        """What is drawn: Dice against reverse steps, a line per number of samples, where there is a figure."""
        lines: dict[str, Line] = {}
        for row in sorted(self.rows, key=lambda row: (row.samples, row.steps)):
            if row.dice is not None:
                name = f"{row.samples} sample{'s' if row.samples > 1 else ''}"
                lines[name] = (*lines.get(name, ()), (row.steps, row.dice))
        return lines


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
    def lines(self) -> dict[str, Line]:
        """What is drawn: Dice against the level of harm, 0 being none, a line per kind."""
        clean = (0, self.clean.dice)
        return {curve.kind: (clean, *((level.level, level.dice) for level in curve.levels)) for curve in self.curves}


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
    """A study in `<name>.json` of an evaluation folder: its record, the options that ask for it, what it shows."""

    record: type[Study]
    options: str  # of `sdseg evaluate`
    shows: str


STUDIES = {
    "sweep": StudyKind(Sweep, "--sweep", "Dice by reverse steps (Figure 3)"),
    "stability": StudyKind(Stability, "--stability 5", "stability over repeated runs (Table 5)"),
    "robustness": StudyKind(Robustness, "--robustness", "Dice when images get worse"),
    "efficiency": StudyKind(Efficiency, "--efficiency", "parameters, FLOPs, latency and memory (Table 4)"),
    "latents": StudyKind(Latents, "--latents --codec CODEC", "latents of masks and conditions (Figures 2 and 6)"),
}


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
    size: int = Field(ge=1)
    slices: int = Field(ge=2)
    columns: int = Field(ge=1)
    tile: int = Field(ge=1)
    first: int = Field(ge=0)  # what is shown first: the largest label
    label: tuple[str, ...]  # outlines, one path per slice
    prediction: tuple[str, ...]
    webp: bytes = Field(b"", exclude=True)  # the picture beside it


@dataclass(frozen=True)
class StudyRecords:
    """Every study of a model; None where it was not run."""

    sweep: Sweep | None
    stability: Stability | None
    robustness: Robustness | None
    efficiency: Efficiency | None
    latents: Latents | None
    pictures: tuple[TitledPicture, ...]

    def stale(self, model_checksum: str) -> tuple[str, ...]:
        """The studies that were made with another model than the one that was scored."""
        studies: dict[str, Study | None] = {name: getattr(self, name) for name in STUDIES}
        return tuple(name for name, study in studies.items() if study and study.model_checksum != model_checksum)
