"""What the files of a results folder must hold, as typed records; what a newer stage adds is ignored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

__all__ = [
    "Bin",
    "Calibration",
    "CaseScore",
    "Check",
    "ChosenThreshold",
    "Curves",
    "Event",
    "Origin",
    "Overlay",
    "Parity",
    "Resumed",
    "Scored",
    "Sized",
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
    ci95: tuple[Score, Score] | None = None

    @property
    def interval(self) -> str:
        return f"{self.ci95[0]:.3f} – {self.ci95[1]:.3f}" if self.ci95 else ""


class Scored(_Lenient):
    """Any metric over cases: a share, or millimetres. Where no case has it, `n` is 0 and `mean` None."""

    mean: FiniteFloat | None
    sd: FiniteFloat | None = None
    minimum: FiniteFloat | None = None
    median: FiniteFloat | None = None
    maximum: FiniteFloat | None = None
    ci95: tuple[FiniteFloat, FiniteFloat] | None = None
    n: int | None = None
    undefined: dict[str, int] = Field(default_factory=dict)  # reason -> cases

    @property
    def reason(self) -> str:
        """Why cases are left out, or there is no figure at all."""
        return "; ".join(f"{why} ({number} case{'s' if number > 1 else ''})" for why, number in self.undefined.items())


class Sized(_Lenient):
    """Scores at one size."""

    metrics: dict[str, Scored]
    structures: dict[str, dict[str, Scored]]


class Bin(_Lenient):
    """One bar of a reliability diagram; a bin without pixels has no means."""

    low: Score
    high: Score
    pixels: int
    probability: Score | None
    positives: Score | None


class Calibration(_Lenient):
    """Whether a probability means what it says."""

    ece: Score
    pixels: int = 0
    bins: tuple[Bin, ...]


class ChosenThreshold(_Lenient):
    """The threshold, chosen on the validation split."""

    threshold: Score
    split: str
    n_cases: int
    dice: Score


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
    structures: dict[str, dict[str, Scored]]
    native: Sized | None = None
    native_missing: str | None = None
    working: Sized | None = None
    dice_official: Scored | None = None
    nsd_tolerance_mm: FiniteFloat | None = None
    calibration: Calibration | None = None
    threshold_chosen: ChosenThreshold | None = None
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


class Check(_Lenient):
    """One graph on one backend; `not_run` is the reason why it could not be checked."""

    file: str
    precision: str
    backend: str
    not_run: str | None = None
    max_abs_difference: Positive | None = None
    dice_exported: Score | None = None
    dice_difference: FiniteFloat | None = None
    mask_dice: Score | None = None
    tolerances: dict[str, FiniteFloat] = Field(default_factory=dict)
    few_cases: bool = False
    passed: bool | None = None


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
    checks: tuple[Check, ...] = ()  # every precision on every provider


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
    predicted: int | None = None  # pixels, at the size of the headline
    labelled: int | None = None
    note: str = ""  # why scores of it are undefined


@dataclass(frozen=True)
class Overlay:
    """One picture of `evaluation/overlays`."""

    rank: str  # best, median or worst
    case: str
    png: bytes
    width: int
    height: int
