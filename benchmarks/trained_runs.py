"""The runs of a results folder by what they repeat, and how their figures are put together: shared by the scripts."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from statistics import fmean, stdev

from sdseg.artifacts.manifests import ModelManifest
from sdseg.artifacts.results.training import TrainingRecord
from sdseg.core.errors import UserError
from sdseg.report.collect import ScoredRun, collect_results
from sdseg.report.recipe_comparison import recipe_of

__all__ = ["TrainedRun", "cpu_seconds", "mean_if_known", "named_seconds", "runs_by_recipe", "spread", "trained_runs"]


@dataclass(frozen=True)
class TrainedRun(ScoredRun):
    """A scored run whose model is there."""

    model: ModelManifest
    training: TrainingRecord

    @property
    def cpu_seconds(self) -> float:
        """Of its training. Raises UserError where nobody counted them."""
        if self.training.cpu_seconds is None:
            raise self._untold("how many CPU seconds its training took")
        return self.training.cpu_seconds

    @property
    def device(self) -> str:
        """What it was trained on. Raises UserError where nobody wrote it down."""
        if self.training.device is None:
            raise self._untold("what it was trained on")
        return self.training.device

    def _untold(self, what: str) -> UserError:
        return UserError(
            f"the model does not tell {what}", where=self.folder / "model/config.json", remedy="train it anew"
        )


def trained_runs(results: Path) -> list[TrainedRun]:
    """The runs of a results folder that were trained and scored, in the order of their names."""
    runs = collect_results(results).runs
    return [TrainedRun(**vars(run)) for run in runs if run.model is not None and run.training is not None]


def runs_by_recipe(results: Path, remedy: str) -> dict[tuple[str, str], list[TrainedRun]]:
    """The trained runs of each dataset and recipe, one for each seed; the means of several are left out.

    Raises UserError, with the remedy, where there are none.
    """
    groups: dict[tuple[str, str], list[TrainedRun]] = {}
    for run in trained_runs(results):
        if not run.model.members:
            groups.setdefault((run.dataset, recipe_of(run)), []).append(run)
    if not groups:
        raise UserError("nothing here was trained and scored", where=results, remedy=remedy)
    return groups


def spread(name: str, values: Sequence[float]) -> dict[str, float | None]:
    """Mean and deviation over the seeds, as `name`_mean and `name`_sd; one alone has no deviation."""
    deviation = round(stdev(values), 4) if len(values) > 1 else None
    return {f"{name}_mean": round(fmean(values), 4), f"{name}_sd": deviation}


def mean_if_known(values: Sequence[float | None]) -> float | None:
    """Their mean, to four digits; None where one of them is not known."""
    known = [value for value in values if value is not None]
    return round(fmean(known), 4) if len(known) == len(values) else None


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
