"""Two folders of results side by side: the same datasets and recipes, scored on the same cases, or an error."""

from __future__ import annotations

from dataclasses import dataclass

from sdseg.core.errors import ListedError, UserError
from sdseg.metrics.intervals import Paired, paired
from sdseg.report import formats
from sdseg.report.collect import SAME, Gathered, Run

__all__ = ["Pair", "Versus", "versus"]

REMEDY = "compare evaluations of the same protocol, split, target and prepared data; score one of them again"


@dataclass(frozen=True)
class Pair:
    """One recipe on one dataset in both folders; `found` is None where scores per case are missing."""

    a: Run
    b: Run
    found: Paired | None

    @property
    def difference(self) -> float:
        return self.b.summary.dice.mean - self.a.summary.dice.mean

    @property
    def p_text(self) -> str:
        return formats.p_value(self.found.p_value) if self.found else formats.NOT_DEFINED


@dataclass(frozen=True)
class Versus:
    """What both folders hold, and what only one of them has."""

    a: Gathered
    b: Gathered
    pairs: tuple[Pair, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def versus(a: Gathered, b: Gathered) -> Versus:
    """Pair the runs by dataset and recipe.

    Raises ListedError where runs of one name differ in protocol, split, target, size, checksum of the data or origin,
    and UserError where the folders have no run in common.
    """
    first, second = ({(run.dataset, run.recipe): run for run in one.runs} for one in (a, b))
    both = [name for name in first if name in second]
    if not both:
        raise UserError(
            f"no dataset and recipe is in both: {_listed(first)} here, {_listed(second)} in {b.folder}",
            where=a.folder,
            remedy="name two folders that the workflow wrote with the same datasets and recipes",
        )
    problems = [
        f"{' / '.join(name)}: {key} is {_value(first[name], key)} in one and {_value(second[name], key)} in the other"
        for name in both
        for key in ("origin", *SAME)
        if getattr(first[name].summary, key) != getattr(second[name].summary, key)
    ]
    if problems:
        raise ListedError("these results must not be compared:", problems, where=b.folder, remedy=REMEDY)
    return Versus(
        a=a,
        b=b,
        pairs=tuple(Pair(first[name], second[name], _tested(first[name], second[name])) for name in both),
        only_a=tuple(" / ".join(name) for name in first if name not in second),
        only_b=tuple(" / ".join(name) for name in second if name not in first),
    )


def _tested(a: Run, b: Run) -> Paired | None:
    if not a.cases or not b.cases:
        return None
    return paired(*({case.case: case.dice for case in run.cases or ()} for run in (a, b)))


def _value(run: Run, key: str) -> str:
    return str(getattr(run.summary, key))[:16]


def _listed(runs: dict[tuple[str, str], Run]) -> str:
    return ", ".join(" / ".join(name) for name in runs)
