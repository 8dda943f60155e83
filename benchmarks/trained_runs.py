"""The runs of a results folder by what they repeat, and how their figures are put together: shared by the scripts."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from math import inf, nan
from pathlib import Path
from statistics import fmean, stdev

from sdseg.core.errors import UserError
from sdseg.report.collect import ScoredRun, collect_results
from sdseg.report.recipe_comparison import recipe_of

__all__ = ["ScoredRun", "cpu_seconds", "named_seconds", "runs_by_recipe", "spread"]


def runs_by_recipe(results: Path) -> dict[tuple[str, str], list[ScoredRun]]:
    """The trained and scored runs of each dataset and recipe, one for each seed; the means of several are left out."""
    groups: dict[tuple[str, str], list[ScoredRun]] = {}
    for run in collect_results(results).runs:
        if run.model is not None and run.training is not None and not run.model.members:
            groups.setdefault((run.dataset, recipe_of(run)), []).append(run)
    return groups


def spread(name: str, values: Sequence[float]) -> dict[str, float | None]:
    """Mean and deviation over the seeds, as `name`_mean and `name`_sd; one alone has no deviation."""
    deviation = round(stdev(values), 4) if len(values) > 1 else None
    return {f"{name}_mean": round(fmean(values), 4), f"{name}_sd": deviation}


def named_seconds(word: str) -> tuple[str, float]:
    """`NAME=SECONDS` of an option `--cpu-seconds-per-step`. Raises ArgumentTypeError for another word."""
    name, separator, seconds = word.rpartition("=")
    try:
        value = float(seconds)
    except ValueError:
        value = nan
    if not (name and separator and 0 < value < inf):
        raise ArgumentTypeError(f"'{word}' is no NAME=SECONDS, such as unet-800s=0.105")
    return name, value


def cpu_seconds(name: str, device: str, taken: float, steps: int, per_step: Mapping[str, float]) -> float:
    """CPU seconds of a training; of one on a GPU, what as many steps take on a CPU.

    Raises UserError where that is not known.
    """
    if device == "cpu":
        return taken
    if name not in per_step:
        raise UserError(
            f"{name} was trained on a GPU, whose time is none of a CPU",
            remedy="time its step on a CPU, and give --cpu-seconds-per-step",
        )
    return per_step[name] * steps
