"""What the studies of a model left beside its scores, as typed records; what a newer stage adds is ignored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from sdseg.artifacts import read_json
from sdseg.errors import UserError

__all__ = [
    "Curve",
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
    "read_findings",
    "read_volumes",
]

RANKS = ("best", "median", "worst")
REMEDY = "run the study again"
Record = TypeVar("Record", bound=BaseModel)


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class _Study(_Lenient):
    """What the file of every study begins with."""

    backend: str
    split: str
    n_cases: int
    n_slices: int
    size: int
    data_checksum: str
    model_checksum: str
    provenance: dict[str, Any] = Field(default_factory=dict)


class SweepRow(_Lenient):
    """One pair of steps and samples; without figures there is a reason."""

    steps: int
    samples: int
    dice: FiniteFloat | None = None
    iou: FiniteFloat | None = None
    seconds_per_image: FiniteFloat | None = None
    reason: str | None = None


class Sweep(_Study):
    rows: tuple[SweepRow, ...]


class Measured(_Lenient):
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


class Level(_Lenient):
    level: int
    strength: FiniteFloat
    dice: FiniteFloat


class Curve(_Lenient):
    kind: str
    unit: str = ""
    levels: tuple[Level, ...]


class _Clean(_Lenient):
    dice: FiniteFloat


class Robustness(_Study):
    clean: _Clean
    curves: tuple[Curve, ...]


class Part(_Lenient):
    part: str
    parameters: int
    flops: int


class Latency(_Lenient):
    batch: int
    seconds_median: FiniteFloat
    seconds_p90: FiniteFloat
    images_per_second: FiniteFloat


class Memory(_Lenient):
    bytes: int | None = None
    of: str


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


class _Drawn(_Lenient):
    file: str | None = None
    reason: str | None = None


class Latents(_Study):
    masks: _Drawn
    conditions: _Drawn


@dataclass(frozen=True)
class Picture:
    """A picture of `latents/`, or why there is none."""

    title: str
    png: bytes | None
    reason: str


class Volume(_Lenient):
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


def read_findings(folder: Path) -> Findings:
    """The studies in an evaluation folder. Raises UserError for a file that is truncated or not as expected."""
    latents = _optional(folder / "latents.json", Latents)
    return Findings(
        sweep=_optional(folder / "sweep.json", Sweep),
        stability=_optional(folder / "stability.json", Stability),
        robustness=_optional(folder / "robustness.json", Robustness),
        efficiency=_optional(folder / "efficiency.json", Efficiency),
        latents=latents,
        pictures=tuple(_pictures(folder, latents)) if latents else (),
    )


def read_volumes(folder: Path) -> tuple[Volume, ...]:
    """The volumes that may be scrolled, best first. Raises UserError where a picture is missing or cut off."""
    found = []
    for path in (folder / f"{rank}.json" for rank in RANKS):
        if not path.is_file():
            continue
        volume, picture = read_json(path, Volume), path.with_suffix(".webp")
        if len(volume.label) != volume.slices or len(volume.prediction) != volume.slices:
            raise UserError("the outlines are not one per slice", where=path, remedy="evaluate again")
        webp = picture.read_bytes() if picture.is_file() else b""
        if webp[:4] != b"RIFF" or webp[8:12] != b"WEBP" or int.from_bytes(webp[4:8], "little") + 8 > len(webp):
            raise UserError("not a whole WebP picture", where=picture, remedy="evaluate again")
        found.append(volume.model_copy(update={"webp": webp}))
    return tuple(found)


def _optional(path: Path, model: type[Record]) -> Record | None:
    return read_json(path, model) if path.is_file() else None


def _pictures(folder: Path, latents: Latents) -> list[Picture]:
    titles = {"masks": "Masks, their latents and reconstructions", "conditions": "Condition before and after training"}
    found = []
    for name, title in titles.items():
        drawn: _Drawn = getattr(latents, name)
        png = None
        if drawn.file is not None:
            path = folder / "latents" / Path(drawn.file).name
            png = path.read_bytes() if path.is_file() else b""
            if not png.startswith(b"\x89PNG") or not png.endswith(b"IEND\xaeB`\x82"):
                raise UserError("not a whole PNG picture", where=path, remedy=REMEDY)
        found.append(Picture(title, png, drawn.reason or "not drawn"))
    return found
