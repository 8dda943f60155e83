"""Where a model fails: `evaluation/hard_cases.json`, scores of cases in groups, as a typed record."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat

from sdseg.artifacts.results.evaluation import ShareSummary
from sdseg.artifacts.results.record import FORMAT, Record, Score

__all__ = ["CaseGroup", "GroupedBy", "HardCases"]

GroupedBy = Literal["size", "contrast", "position"]


class CaseGroup(Record):
    """The cases of one structure that are alike in one respect, and its Dice in them, at the headline size."""

    structure: str
    by: GroupedBy
    group: str
    low: FiniteFloat | None = None  # of the size or the contrast: the smallest and the largest in the group
    high: FiniteFloat | None = None
    n: int
    dice: ShareSummary | None  # None for a group without cases
    worst: str | None = None  # the case with the lowest Dice


class HardCases(Record):
    format: int = FORMAT
    size_unit: str  # share: of the image or the volume; ml
    groups: tuple[CaseGroup, ...]
    ungrouped: dict[str, str] = Field(
        default_factory=dict
    )  # structure -> why its cases are not grouped by size and contrast
    dice: dict[str, Score]  # structure -> mean over all cases

    def hardest(self, fewest: int = 3) -> tuple[CaseGroup, ...]:
        """The group with the lowest mean Dice of each structure, of groups with at least `fewest` cases."""
        hardest_groups = []
        for structure, mean in self.dice.items():
            own = [one for one in self.groups if one.structure == structure and one.dice and one.n >= fewest]
            lowest = min(own, key=lambda one: one.dice.mean if one.dice else 1.0, default=None)
            if lowest is not None and lowest.dice is not None and lowest.dice.mean < mean:
                hardest_groups.append(lowest)
        return tuple(hardest_groups)
