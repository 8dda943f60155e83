"""Two folders of results side by side: the same datasets and recipes, scored on the same cases, or an error."""

from __future__ import annotations

from dataclasses import dataclass

from sdseg.core.errors import ListedError, UserError
from sdseg.metrics.intervals import Paired, paired
from sdseg.report.collect import SAME, CollectedResults, ScoredRun

__all__ = ["FolderComparison", "RunPair", "compare_folders"]

REMEDY = "compare evaluations of the same protocol, split, target and prepared data; score one of them again"


@dataclass(frozen=True)
class RunPair:
    """One recipe on one dataset in both folders; `found` is None where scores per case are missing."""

    a: ScoredRun
    b: ScoredRun
    paired: Paired | None

    @property
    def difference(self) -> float:
        return self.b.summary.dice.mean - self.a.summary.dice.mean


@dataclass(frozen=True)
class FolderComparison:
    """What both folders hold, and what only one of them has."""

    a: CollectedResults
    b: CollectedResults
    pairs: tuple[RunPair, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def compare_folders(a: CollectedResults, b: CollectedResults) -> FolderComparison:
    """Pair the runs by dataset and recipe.

    Raises ListedError where runs of one name differ in protocol, split, target, size, checksum of the data or origin,
    and UserError where the folders have no run in common.
    """
    first, second = ({(run.dataset, run.recipe): run for run in one.runs} for one in (a, b))
    in_both = [name for name in first if name in second]
    if not in_both:
        raise UserError(
            f"no dataset and recipe is in both: {_listed(first)} here, {_listed(second)} in {b.folder}",
            where=a.folder,
            remedy="name two folders that the workflow wrote with the same datasets and recipes",
        )
    problems = [
        f"{' / '.join(name)}: {key} is {_value(first[name], key)} in one and {_value(second[name], key)} in the other"
        for name in in_both
        for key in ("origin", *SAME)
        if getattr(first[name].summary, key) != getattr(second[name].summary, key)
    ]
    if problems:
        raise ListedError("these results must not be compared:", problems, where=b.folder, remedy=REMEDY)
    return FolderComparison(
        a=a,
        b=b,
        pairs=tuple(RunPair(first[name], second[name], _tested(first[name], second[name])) for name in in_both),
        only_a=tuple(" / ".join(name) for name in first if name not in second),
        only_b=tuple(" / ".join(name) for name in second if name not in first),
    )


def _tested(a: ScoredRun, b: ScoredRun) -> Paired | None:
    if not a.cases or not b.cases:
        return None
    return paired(*({case.case: case.dice for case in run.cases or ()} for run in (a, b)))


def _value(run: ScoredRun, key: str) -> str:
    return str(getattr(run.summary, key))[:16]


def _listed(runs: dict[tuple[str, str], ScoredRun]) -> str:
    return ", ".join(" / ".join(name) for name in runs)
