"""`pareto.json`: Dice against latency, a row per recipe, as benchmarks/pareto.py writes it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sdseg.artifacts.results.record import Positive, Record, Score

__all__ = ["Pareto", "ParetoRow"]


class ParetoRow(Record):
    """One recipe: its Dice over seeds, what it takes, and the latency of one image in every runtime."""

    scale: str  # 'phantom', 'full' (untrained, at the paper's size), or the name of the data
    dataset: str  # in the results; '' where nothing was trained
    role: Literal["teacher", "student", "unet"]
    name: str
    dice_mean: Score | None = None  # None where nothing was trained
    dice_sd: Positive | None = None  # None of a single seed
    dice_by_seed: dict[str, Score] | None = None  # by number; None in files of earlier versions
    seeds: int
    gflop: Positive  # of one image, or one slice
    parameters: int
    bytes: int  # of the graph, in single precision
    latency_ms: dict[str, Positive] = Field(default_factory=dict)  # median; by runtime; a slice's share of a volume
    date: str
    commits: tuple[str, ...]  # of the trainings; of the measurement where nothing was trained
    model_checksums: tuple[str, ...] | None = None  # of the models of every seed; None where they are not known


class Pareto(Record):
    """The whole file."""

    command: str
    commit: str
    date: str
    machine: str
    rows: tuple[ParetoRow, ...]
