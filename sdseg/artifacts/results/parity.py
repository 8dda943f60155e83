"""What export leaves: `parity.json` and what lies beside an engine, as typed records."""

from __future__ import annotations

from pydantic import Field, FiniteFloat

from sdseg.artifacts.results.record import Positive, Record, Score

__all__ = ["Check", "Engine", "Parity"]


class Check(Record):
    """One graph on one backend; `not_run` is the reason why it could not be checked."""

    file: str
    backend: str
    reference: str | None = None
    precision: str
    not_run: str | None = None
    n_cases: int | None = None
    n_slices: int | None = None
    max_abs_difference: Positive | None = None
    mean_abs_difference: Positive | None = None
    hypotheses_difference: Positive | None = None
    variance_difference: Positive | None = None
    entropy_difference: Positive | None = None
    dice_reference: Score | None = None
    dice_exported: Score | None = None
    dice_difference: FiniteFloat | None = None
    mask_dice: Score | None = None
    tolerances: dict[str, FiniteFloat] = Field(default_factory=dict)
    passed: bool | None = None
    few_cases: bool = False


class Parity(Record):
    """`export/parity.json`: how far an exported model lies from its reference, on the same images."""

    file: str = ""  # the graph
    backend: str
    reference: str
    precision: str
    n_cases: int
    n_slices: int
    max_abs_difference: Positive  # of the probability
    mean_abs_difference: Positive
    hypotheses_difference: Positive | None = None  # largest of a pixel of any; None: the graph gives their mean alone
    variance_difference: Positive | None = None
    entropy_difference: Positive | None = None
    dice_reference: Score  # mean over cases, against the labels
    dice_exported: Score
    dice_difference: FiniteFloat  # absolute difference of the two above
    mask_dice: Score  # mean over cases, between the two models' masks
    tolerances: dict[str, FiniteFloat]
    passed: bool
    few_cases: bool = False
    checks: tuple[Check, ...] = ()  # every precision on every provider
    problems: tuple[str, ...] = Field((), exclude=True)  # why it did not pass


class Engine(Record):
    """`export/model.<precision>.engine.json`: a TensorRT engine, checked as the graphs are."""

    precision: str
    gpu: str
    parity: Parity | None = None
    file: str = ""
