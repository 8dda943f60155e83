"""What export leaves: `parity.json` and what lies beside an engine, as typed records."""

from __future__ import annotations

from pydantic import Field, FiniteFloat

from sdseg.artifacts.results.evaluation import Lenient, Positive, Score

__all__ = ["Check", "Engine", "Parity"]


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
