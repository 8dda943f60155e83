"""What the files of a results folder must hold, as typed records; what a newer stage adds is ignored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

__all__ = [
    "CaseScore",
    "Curves",
    "Event",
    "Origin",
    "Overlay",
    "Parity",
    "Resumed",
    "Spread",
    "Step",
    "Summary",
    "TrainedOn",
    "Training",
    "Validation",
]

Origin = Literal["real", "sample", "phantom"]
Score = Annotated[FiniteFloat, Field(ge=0, le=1)]
Positive = Annotated[FiniteFloat, Field(ge=0)]


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class Spread(_Lenient):
    """Statistics of one score over cases."""

    mean: Score
    sd: Positive
    minimum: Score
    median: Score
    maximum: Score


class Structure(_Lenient):
    """Scores of one structure."""

    dice: Spread
    iou: Spread


class Ceiling(_Lenient):
    """Dice of decode(encode(mask)): what the codec alone costs."""

    dice: Score
    split: str | None = None


class TrainedOn(_Lenient):
    """What the scored model was trained on, which may be another dataset."""

    dataset: str


class Summary(_Lenient):
    """`evaluation/summary.json`."""

    dataset: str
    origin: Origin
    recipe: str
    protocol: str
    split: str
    backend: str
    n_cases: int = Field(ge=1)
    n_slices: int = Field(ge=1)
    dice: Spread
    iou: Spread
    structures: dict[str, Structure]
    seconds_per_image: Positive
    codec_ceiling: Ceiling | None = None
    threshold: FiniteFloat
    size: int
    scored_at: str
    target: str
    data_checksum: str
    model_checksum: str
    trained_on: TrainedOn | None = None
    provenance: dict[str, Any]


class Parity(_Lenient):
    """`export/parity.json`."""

    backend: str
    reference: str
    precision: str
    n_cases: int
    n_slices: int
    max_abs_difference: Positive
    mean_abs_difference: Positive
    dice_reference: Score
    dice_exported: Score
    dice_difference: FiniteFloat  # absolute
    mask_dice: Score
    tolerances: dict[str, FiniteFloat]
    passed: bool


class Training(_Lenient):
    """`training` of `model/config.json`."""

    steps: int
    best_step: int | None = None
    best_dice: Score | None = None  # None where no validation was run
    seconds: Positive
    batch: int
    parameters: dict[str, int]
    codec_ceiling: Ceiling | None = None

    @property
    def n_parameters(self) -> int:
        return sum(self.parameters.values())


class Event(_Lenient):
    """A line of `training.jsonl`."""

    event: str


class Step(_Lenient):
    """A line of `training.jsonl`."""

    step: int
    loss: float | None  # not finite where training went astray; such points are not drawn


class Validation(_Lenient):
    """A line of `training.jsonl`."""

    step: int
    dice: Score


class Resumed(_Lenient):
    """A line of `training.jsonl`."""

    step: int


@dataclass(frozen=True)
class Curves:
    """`training.jsonl`: (step, value) in the order of steps; a step logged twice counts as logged last."""

    loss: tuple[tuple[int, float], ...]
    dice: tuple[tuple[int, float], ...]
    resumed: tuple[int, ...]


@dataclass(frozen=True)
class CaseScore:
    """One row of `evaluation/cases.csv`."""

    case: str
    dice: float
    iou: float


@dataclass(frozen=True)
class Overlay:
    """One picture of `evaluation/overlays`."""

    rank: str  # best, median or worst
    case: str
    png: bytes
    width: int
    height: int
