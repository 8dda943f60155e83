"""What training and export leave, as typed records; what a newer stage adds is ignored."""

from __future__ import annotations

from dataclasses import dataclass

from sdseg.artifacts.results.evaluation import Ceiling, Lenient, Memory, Positive, Score

__all__ = ["Curves", "Event", "Resumed", "Step", "Training", "Validation"]


class Training(Lenient):
    """`training` of `model/config.json`."""

    steps: int
    best_step: int | None = None
    best_dice: Score | None = None  # None where no validation was run
    seconds: Positive
    batch: int
    memory: Memory | None = None
    parameters: dict[str, int]
    codec_ceiling: Ceiling | None = None

    @property
    def n_parameters(self) -> int:
        return sum(self.parameters.values())


class Event(Lenient):
    """A line of `training.jsonl`."""

    event: str


class Step(Lenient):
    """A line of `training.jsonl`."""

    step: int
    loss: float | None  # not finite where training went astray; such points are not drawn


class Validation(Lenient):
    """A line of `training.jsonl`."""

    step: int
    dice: Score


class Resumed(Lenient):
    """A line of `training.jsonl`."""

    step: int


@dataclass(frozen=True)
class Curves:
    """`training.jsonl`: (step, value) in the order of steps; a step logged twice counts as logged last."""

    loss: tuple[tuple[int, float], ...]
    dice: tuple[tuple[int, float], ...]
    resumed: tuple[int, ...]
