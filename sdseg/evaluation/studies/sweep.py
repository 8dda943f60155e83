"""Reverse steps × samples -> Dice, IoU, seconds per image: is one step enough (the paper's Figure 3, and Table 4)?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from sdseg.artifacts.results.studies import Sweep, SweepRow
from sdseg.backends.open_model import Served
from sdseg.core.errors import ListedError, UserError
from sdseg.evaluation.studies.studied_model import Subject, bar, mean_scores

__all__ = ["Grid", "sweep"]


@dataclass(frozen=True)
class Grid:
    """The numbers of reverse steps (1…50) and of hypotheses that are averaged."""

    steps: tuple[int, ...] = (1, 2, 5, 10, 20, 50)
    samples: tuple[int, ...] = (1, 5)


def sweep(subject: Subject, grid: Grid = Grid()) -> Sweep:
    """The content of `sweep.json`: `rows`, one for every pair of the grid.

    A pair that the recipe does not allow has no figures (null) but a `reason`: other pairs would have to be trained
    for. Scores are at the working size, with the noise seed of an evaluation, so that the row of the recipe's own
    steps and samples repeats its evaluation.
    """
    _check(grid)
    pairs = list(itertools.product(grid.samples, grid.steps))
    rows = []
    with bar(subject.slices * len(pairs), "sweep") as progress:
        for samples, steps in pairs:
            served, reason = _opened(subject, steps, samples)
            if served is None:
                means = dict.fromkeys(("dice", "dice_sd", "iou", "seconds_per_image"))
                progress.update(subject.slices)
            else:
                means = mean_scores(subject, served.backend, progress, timed=True).content()
            rows.append(SweepRow.checked(steps=steps, samples=samples, **means, reason=reason))
    return Sweep.checked(**subject.header("sweep"), rows=rows)


def _opened(subject: Subject, steps: int, samples: int) -> tuple[Served | None, str | None]:
    """The model with these numbers, or why there is none."""
    try:
        return subject.served_with(steps=steps, samples=samples), None
    except ListedError as error:  # the recipe's own rules, whose remedies are for a recipe
        return None, "; ".join(_short(problem) for problem in error.problems)
    except UserError as error:  # a graph
        return None, error.what


def _short(problem: str) -> str:
    return problem.removeprefix("inference: ").partition("; ")[0]


def _check(grid: Grid) -> None:
    for flag, numbers, most in (("--steps", grid.steps, 50), ("--samples", grid.samples, 1000)):
        wrong: Sequence[int] = [number for number in numbers if not 1 <= number <= most]
        if wrong or not numbers:
            listed = ", ".join(map(str, wrong)) or "none"
            raise UserError(f"these numbers make no sense: {listed}", where=flag, remedy=f"give some from 1 to {most}")
