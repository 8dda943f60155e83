"""What an evaluation leaves, as typed records; what a newer stage adds is ignored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, FiniteFloat

from sdseg.artifacts.results.record import FORMAT, Ceiling, Positive, Record, Score
from sdseg.core.bounded_types import Size

__all__ = [
    "AnnotatorSummary",
    "CalibrationRecord",
    "CaseRow",
    "ChosenThreshold",
    "EvaluationSummary",
    "MetricSummary",
    "Origin",
    "Overlay",
    "ReliabilityBin",
    "ScoresAtSize",
    "ShareSummary",
    "TrainedOn",
]

Origin = Literal["real", "sample", "phantom"]


class MetricSummary(Record):
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


class ShareSummary(MetricSummary):
    """Statistics of a share that every case has."""

    mean: Score
    sd: Positive
    minimum: Score
    median: Score
    maximum: Score
    ci95: tuple[Score, Score] | None = None

    @property
    def interval(self) -> str:
        return f"{self.ci95[0]:.3f} – {self.ci95[1]:.3f}" if self.ci95 else ""


class ScoresAtSize(Record):
    """Scores at one size."""

    metrics: dict[str, MetricSummary]
    structures: dict[str, dict[str, MetricSummary]]


class ReliabilityBin(Record):
    """One bar of a reliability diagram; a bin without pixels has no means."""

    low: Score
    high: Score
    pixels: int
    probability: Score | None
    positives: Score | None


class CalibrationRecord(Record):
    """Whether a probability means what it says."""

    size: str = ""  # at which it was measured
    ece: Score
    pixels: int = 0
    bins: tuple[ReliabilityBin, ...]


class ChosenThreshold(Record):
    """The threshold, chosen on the validation split."""

    threshold: Score
    split: str
    n_cases: int
    dice: Score
    curve: tuple[tuple[FiniteFloat, Score], ...] = ()  # thresholds, and the Dice of each


class TrainedOn(Record):
    """What the scored model was trained on, which may be another dataset."""

    dataset: str
    origin: str | None = None
    data_checksum: str | None = None


class CrossValidation(Record):
    """Out-of-fold scores: every case was scored by the model that had not seen it."""

    folds: int
    sha256: str  # of the file of folds
    recipes: tuple[str, ...]  # the trainings, fold by fold
    dice: tuple[Score, ...]  # mean over the cases of each fold


class AnnotatorSummary(Record):
    """Hypotheses against several annotators."""

    names: tuple[str, ...]
    hypotheses: int = Field(ge=1)  # of each case
    size: str  # at which they were compared
    metrics: dict[str, MetricSummary]
    dice_by_annotator: dict[str, MetricSummary]  # mean over hypotheses, over the cases that he drew


class EvaluationSummary(Record):
    """`evaluation/summary.json`."""

    format: int = FORMAT
    dataset: str
    source: str | None = None
    origin: Origin
    protocol: str
    split: str
    target: str
    n_cases: int = Field(ge=1)
    n_slices: int = Field(ge=1)
    interval: dict[str, Any] = Field(default_factory=dict)  # how `ci95` is made
    nsd_tolerance_mm: FiniteFloat | None = None
    size: Size
    data_checksum: str
    scored_at: str
    dice: ShareSummary
    iou: ShareSummary
    structures: dict[str, dict[str, MetricSummary]]
    native: ScoresAtSize | None = None
    native_missing: str | None = None
    working: ScoresAtSize | None = None
    dice_official: MetricSummary | None = None
    provenance: dict[str, Any]
    recipe: str
    backend: str
    codec_ceiling: Ceiling | None = None
    model_checksum: str
    trained_on: TrainedOn | None = None
    threshold: FiniteFloat | None
    exclusive: bool | None = None  # whether the likelier structure took the pixel; None: nothing tells
    postprocessing: dict[str, bool] | None = None  # of the masks that were scored; None: nothing tells
    cross_validation: CrossValidation | None = None
    threshold_chosen: ChosenThreshold | None = None
    calibration: CalibrationRecord | None = None
    annotators: AnnotatorSummary | None = None  # None: the masks of one, or `annotators_missing` says why
    annotators_missing: str | None = None
    seconds_per_image: Positive | None
    calibration_missing: str | None = None  # why there is none, where there can be none
    predictions: str | None = None  # the folder, where masks made elsewhere were scored and no model
    exhibits: dict[str, str] = Field(default_factory=dict)  # best, median, worst, annotators -> case; empty: unknown

    @property
    def mended_by(self) -> str:
        """What masks went through before they were scored, in words; empty for nothing."""
        return ", ".join(name.replace("_", " ") for name, on in (self.postprocessing or {}).items() if on)

    @property
    def working_missing(self) -> str:
        """Why there is no score at all at the working size; empty where there is one."""
        metrics = tuple(self.working.metrics.values()) if self.working else ()
        return metrics[0].reason if metrics and all(one.n == 0 for one in metrics) else ""


@dataclass(frozen=True)
class CaseRow:
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

    rank: str  # best, median, worst or annotators
    case: str
    png: bytes
    width: int
    height: int
