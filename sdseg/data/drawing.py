"""Drawing a split where none is given: whole groups, by a seed, near the wanted shares of the cases."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from sdseg.config.dataset import Draw
from sdseg.core.errors import UserError
from sdseg.data.splits import SPLITS, same_group

__all__ = ["draw_split"]


def draw_split(group_of: Mapping[str, str], draw: Draw, *, where: Path) -> dict[str, str]:
    """The split of each case, in the order of `group_of` (case -> group); the same for the same seed and cases.

    Groups are taken in the order of SHA-256("<seed> <group>"), whatever their size, so that no split gets all the
    small ones (but those too large for the smallest share come first); each goes to the split that lacks the largest
    part of its share, of those that lack half the group or more. No share is missed by more than twice the largest
    group, and every split has a group. Names that differ in case or spaces alone are one group. `where` is for the
    message. Raises UserError where there are fewer groups than splits.
    """
    cases_of: dict[str, list[str]] = defaultdict(list)
    written: dict[str, str] = {}  # the first of all names of a group
    for case, group in group_of.items():
        cases_of[written.setdefault(same_group(group), group)].append(case)
    if len(cases_of) < len(SPLITS):
        raise UserError(
            f"{len(cases_of)} group(s) of cases cannot be shared among {', '.join(SPLITS)}",
            where=where,
            remedy="give more patients or sequences, or a split file of your own (split_file)",
        )
    wanted = {split: share * len(group_of) for split, share in zip(SPLITS, draw.fractions, strict=True)}
    lacking, empty = dict(wanted), set(SPLITS)
    split_of: dict[str, str] = {}
    least = min(wanted.values())
    groups = sorted(cases_of, key=lambda group: (len(cases_of[group]) <= 2 * least, _order(draw.seed, group)))
    for number, group in enumerate(groups):
        size = len(cases_of[group])
        fitting = [split for split in SPLITS if lacking[split] >= size / 2]
        if len(groups) - number <= len(empty):  # just enough groups are left for the splits without one
            chosen = max(sorted(empty), key=lambda split: lacking[split])
        elif fitting:
            chosen = max(fitting, key=lambda split: lacking[split] / wanted[split])
        else:
            chosen = max(SPLITS, key=lambda split: lacking[split])
        lacking[chosen] -= size
        empty.discard(chosen)
        split_of.update(dict.fromkeys(cases_of[group], chosen))
    return {case: split_of[case] for case in group_of}


def _order(seed: int, group: str) -> str:
    """No random generator whose algorithm may change, and anyone can repeat it."""
    return hashlib.sha256(f"{seed} {group}".encode()).hexdigest()
