"""What a mean over cases is worth: bootstrap intervals, several seeds, and a paired test between two recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from sdseg.core.errors import ListedError, UserError

__all__ = ["INTERVAL", "Interval", "Paired", "Seeds", "interval", "over_seeds", "paired"]

Values = npt.NDArray[np.float64]
LEVEL, RESAMPLES, SEED = 0.95, 9999, 0
INTERVAL = {"level": LEVEL, "method": "percentile bootstrap over cases", "resamples": RESAMPLES, "seed": SEED}


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a mean."""

    low: float
    high: float


@dataclass(frozen=True)
class Seeds:
    """One figure from several trainings that differ in the seed alone."""

    mean: float
    sd: float  # sample standard deviation, 0 for a single seed
    n: int


@dataclass(frozen=True)
class Paired:
    """Two recipes on the same cases."""

    n: int
    difference: float  # mean of b − a over cases
    interval: Interval | None  # of that mean; None for a single case
    p_value: float  # two-sided Wilcoxon signed-rank test; 1 where no case differs
    better: int  # cases in which b is above a
    worse: int  # cases in which b is below a


def interval(values: Values) -> Interval | None:
    """95 % interval of the mean of `values` [n] over resampled cases, same values, same interval.

    Percentiles of resampled means: they never leave the range of the values. None for fewer than two cases.
    """
    if len(values) < 2:
        return None
    if np.ptp(values) == 0:
        return Interval(float(values[0]), float(values[0]))
    bootstrap = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=LEVEL,
        n_resamples=RESAMPLES,
        batch=1000,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Interval(float(bootstrap.low), float(bootstrap.high))


def over_seeds(means: Sequence[float]) -> Seeds:
    """Mean and sample standard deviation of one figure over seeds. Raises UserError where there is none."""
    if not means:
        raise UserError("no result to average over seeds", remedy="evaluate at least one seed")
    values = np.asarray(means, dtype=np.float64)
    return Seeds(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0, len(values))


def paired(a: Mapping[str, float], b: Mapping[str, float]) -> Paired:
    """Compare two recipes by their scores per case, case name -> score; both must hold the same cases.

    Raises ListedError where a case is scored in one of them only, UserError where there is no case at all.
    """
    alone = sorted(set(a) ^ set(b))
    if alone:
        raise ListedError(
            f"{len(alone)} case(s) are scored in one of the two results only:",
            (f"{case}: in the {'first' if case in a else 'second'}" for case in alone),
            remedy="compare evaluations of the same split of the same prepared data",
        )
    if not a:
        raise UserError("no case to compare", remedy="evaluate both recipes on a split that has cases")
    differences = np.array([b[case] - a[case] for case in a])
    same = bool((differences == 0).all())
    return Paired(
        n=len(differences),
        difference=float(differences.mean()),
        interval=interval(differences),
        p_value=1.0 if same else float(stats.wilcoxon(differences).pvalue),
        better=int((differences > 0).sum()),
        worse=int((differences < 0).sum()),
    )
