"""`changes.json`: what single changes of a recipe are worth on validation, as benchmarks/changes.py writes it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sdseg.artifacts.results.record import Positive, Record, Score

__all__ = ["ChangeRow", "Changes"]


class ChangeRow(Record):
    """One training: in what its recipe differs from that of another, how long it took, what it reached."""

    name: str
    kind: Literal["unet", "latent"]
    dataset: str  # in the results
    size: int
    against: str | None = None  # `name` of the training that was started from; None of that one itself
    changes: dict[str, Any] = Field(default_factory=dict)  # by key of the recipe, as in `--set`
    steps: int
    cpu_seconds: Positive  # of the training; of one on a GPU, what as many steps take on a CPU
    seed: int
    val: Score  # best Dice of the validation split
    trained_on: str | None = None  # the GPU; None of a CPU


class Changes(Record):
    """The whole file."""

    command: str
    commit: str
    date: str
    machine: str
    rows: tuple[ChangeRow, ...]
