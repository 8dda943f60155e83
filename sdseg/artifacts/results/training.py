"""What training and export leave, as typed records; what a newer stage adds is ignored."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from sdseg.artifacts.results.record import Ceiling, Memory, Positive, Record, Score

__all__ = ["EVENTS", "Curves", "Done", "Event", "FoldRecord", "Resumed", "Step", "TrainingRecord", "Validation"]


class FoldRecord(Record):
    """Which fold of the training split was held out."""

    number: int  # from 1
    of: int
    sha256: str  # of the file of folds


class TrainingRecord(Record):
    """`training` of `model/config.json`."""

    steps: int
    stopped: str = ""  # why it ended: steps or plateau
    batch: int
    best_step: int | None = None
    best_dice: Score | None = None  # None where no validation was run
    seconds: Positive
    cpu_seconds: Positive | None = None  # of the first process, all its threads; None where nobody counted
    device: str | None = None
    processes: int | None = None
    memory: Memory | None = None
    data_checksum: str | None = None
    fold: FoldRecord | None = None  # of a cross-validation
    started_from: dict[str, str] | None = None  # recipe and sha256 of the model it began with
    teacher: dict[str, str] | None = None  # the same of the model it learnt from
    codec_ceiling: Ceiling | None = None
    parameters: dict[str, int]

    @property
    def n_parameters(self) -> int:
        return sum(self.parameters.values())


class Event(Record):
    """A line of `training.jsonl`; each kind has its own fields."""

    event: str


class Step(Event):
    step: int
    loss: float | None  # not finite where training went astray; such points are not drawn
    losses: dict[str, float] = Field(default_factory=dict)
    learning_rate: float | None = None
    seconds: Positive | None = None


class Validation(Event):
    step: int
    dice: Score
    best: bool | None = None


class Resumed(Event):
    step: int
    changed: tuple[str, ...] = ()  # settings


class Done(Event):
    step: int
    reason: str = ""
    seconds: Positive | None = None


EVENTS: dict[str, type[Event]] = {"step": Step, "validation": Validation, "resumed": Resumed, "done": Done}


@dataclass(frozen=True)
class Curves:
    """`training.jsonl`: (step, value) in the order of steps; a step logged twice counts as logged last."""

    loss: tuple[tuple[int, float], ...]
    dice: tuple[tuple[int, float], ...]
    resumed: tuple[int, ...]
