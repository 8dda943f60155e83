"""Single changes of a recipe on the page: beside the training that they were started from, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sdseg.artifacts.results.changes import ChangeRow

__all__ = ["ChangesOfOne", "changes_by_start"]


@dataclass(frozen=True)
class ChangesOfOne:
    """A training, and those that differ from it, the best on validation first."""

    start: ChangeRow
    rows: tuple[ChangeRow, ...]

    @property
    def gpus(self) -> tuple[str, ...]:
        """On which GPUs some of them were trained: their CPU seconds are those of as many steps on a CPU."""
        return tuple(dict.fromkeys(row.trained_on for row in (self.start, *self.rows) if row.trained_on))

    def gain(self, row: ChangeRow) -> float:
        """What a change is worth in validation Dice."""
        return row.val - self.start.val


def changes_by_start(rows: Sequence[ChangeRow]) -> tuple[ChangesOfOne, ...]:
    """A group for each training that others differ from, in the order of `rows`."""
    groups = []
    for start in rows:
        own = [row for row in rows if row.against == start.name]
        if start.against is None and own:
            groups.append(ChangesOfOne(start, tuple(sorted(own, key=lambda row: -row.val))))
    return tuple(groups)
