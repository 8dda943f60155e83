"""What the studies of a model left beside its scores, as typed records; what a newer stage adds is ignored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, FiniteFloat

from sdseg.artifacts.results.evaluation import Lenient, Memory

__all__ = [
    "Curve",
    "Drawn",
    "Efficiency",
    "Findings",
    "Latents",
    "Level",
    "Measured",
    "Picture",
    "Robustness",
    "Stability",
    "Sweep",
    "SweepRow",
    "Volume",
]


class _Study(Lenient):
    """What the file of every study begins with."""

    backend: str
    split: str
    n_cases: int
    n_slices: int
    size: int
    data_checksum: str
    model_checksum: str
    provenance: dict[str, Any] = Field(default_factory=dict)


class SweepRow(Lenient):
    """One pair of steps and samples; without figures there is a reason."""

    steps: int
    samples: int
    dice: FiniteFloat | None = None
    iou: FiniteFloat | None = None
    seconds_per_image: FiniteFloat | None = None
    reason: str | None = None


class Sweep(_Study):
    rows: tuple[SweepRow, ...]


class Measured(Lenient):
    """A figure, "inf" where it has no bound, or a reason why there is none."""

    value: FiniteFloat | Literal["inf"] | None = None
    reason: str | None = None


class Stability(_Study):
    runs: int
    pictures: int
    pairs: int
    identical: bool
    dice: tuple[FiniteFloat, ...]
    instance_level: dict[str, dict[str, Measured]]  # masks, probabilities -> psnr, ssim, ms_ssim
    dataset_level: dict[str, dict[str, Measured]]


class Level(Lenient):
    level: int
    strength: FiniteFloat
    dice: FiniteFloat


class Curve(Lenient):
    kind: str
    unit: str = ""
    levels: tuple[Level, ...]


class _Clean(Lenient):
    dice: FiniteFloat


class Robustness(_Study):
    clean: _Clean
    curves: tuple[Curve, ...]


class Part(Lenient):
    part: str
    parameters: int
    flops: int


class Latency(Lenient):
    batch: int
    seconds_median: FiniteFloat
    seconds_p90: FiniteFloat
    images_per_second: FiniteFloat


class Efficiency(_Study):
    parts: tuple[Part, ...] | None = None
    parameters: int | None = None
    flops: int | None = None
    inference: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    reason: str | None = None
    latency: tuple[Latency, ...]
    memory: Memory
    device: str
    threads: int | None = None


class Drawn(Lenient):
    """A picture below the evaluation folder, or the reason why there is none."""

    file: str | None = None
    reason: str | None = None


class Latents(_Study):
    masks: Drawn
    conditions: Drawn


@dataclass(frozen=True)
class Picture:
    """A picture of `latents/`, or why there is none."""

    title: str
    png: bytes | None
    reason: str


class Volume(Lenient):
    """One volume to be scrolled: `volumes/<rank>.json`."""

    case: str
    rank: str
    dice: FiniteFloat
    size: int = Field(ge=1)
    slices: int = Field(ge=2)
    columns: int = Field(ge=1)
    tile: int = Field(ge=1)
    first: int = Field(ge=0)
    label: tuple[str, ...]
    prediction: tuple[str, ...]
    webp: bytes = b""


@dataclass(frozen=True)
class Findings:
    """Every study of a model; None where it was not run."""

    sweep: Sweep | None
    stability: Stability | None
    robustness: Robustness | None
    efficiency: Efficiency | None
    latents: Latents | None
    pictures: tuple[Picture, ...]

    def stale(self, model_checksum: str) -> tuple[str, ...]:
        """The studies that were made with another model than the one that was scored."""
        studies = ("sweep", "stability", "robustness", "efficiency", "latents")
        made = {name: getattr(self, name) for name in studies}
        return tuple(name for name, study in made.items() if study and study.model_checksum != model_checksum)
