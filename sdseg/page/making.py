"""What training and export leave, as typed records; what a newer stage adds is ignored."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, FiniteFloat

from sdseg.page.records import Ceiling, Lenient, Memory, Positive, Score

__all__ = ["Check", "Curves", "Engine", "Event", "Parity", "Resumed", "Step", "Training", "Validation"]


class Check(Lenient):
    """One graph on one backend; `not_run` is the reason why it could not be checked."""

    file: str
    precision: str
    backend: str
    not_run: str | None = None
    max_abs_difference: Positive | None = None
    mean_abs_difference: Positive | None = None
    dice_exported: Score | None = None
    dice_difference: FiniteFloat | None = None
    mask_dice: Score | None = None
    tolerances: dict[str, FiniteFloat] = Field(default_factory=dict)
    few_cases: bool = False
    passed: bool | None = None


class Parity(Lenient):
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


class Engine(Lenient):
    """`export/model.<precision>.engine.json`: a TensorRT engine, checked as the graphs are."""

    precision: str
    gpu: str
    parity: Parity | None = None
    file: str = ""


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
