"""`sdseg split`: which case trains, validates and tests, written to a file once and read from it ever after."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from sdseg.config.dataset import Dataset, Draw
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import csv_text, write_text
from sdseg.core.locks import writes
from sdseg.datasets.layouts import RawCase
from sdseg.datasets.raw_cases import open_raw
from sdseg.datasets.split_files import (
    HEADER,
    SPLITS,
    SplitRow,
    impure_groups,
    merged_groups,
    read_split,
    same_group,
)

__all__ = ["draw_split", "drawing_order", "split"]

log = logging.getLogger(__name__)


@writes("output")
def split(*, settings: Dataset, raw: Path, output: Path, draw: Draw | None = None) -> tuple[SplitRow, ...]:
    """Write the split of the dataset under `raw` to `output` (id, group, split), or check the one that is there.

    The split is what the table of an own dataset or the folders of an official one say; else whole groups are drawn,
    as `draw` or the settings have it. A file that is there is kept to the byte.

    Raises UserError for a dataset whose splits are committed files, for a group in two splits, and where the file
    that is there names other cases or another split than would be written now.
    """
    source, cases = open_raw(settings, raw)
    if source.split_by == "file":
        raise UserError(
            f"the splits of {source.title} are files: its groups cannot be told from the raw files",
            where=f"{source.name}",
            remedy=f"use resources/splits/{source.name}/, or write a file id,group,split and name it as 'split_file'",
        )
    rows = _rows(cases, draw or settings.split or Draw(), raw)
    problems = impure_groups(rows)
    if problems:
        raise ListedError(
            f"{len(problems)} group(s) lie in several splits:", problems, where=raw, remedy="correct group or split"
        )
    if output.exists():
        _compare(read_split(output), rows, output)
        log.info("kept: %s", output)
    else:
        write_text(output, csv_text(HEADER, ((row.id, row.group, row.split) for row in rows)))
        log.info("written: %s", output)
    counts = Counter(row.split for row in rows)
    log.info("%s: %s", source.title, ", ".join(f"{counts[part]} {part}" for part in SPLITS))
    return rows


def _rows(cases: Sequence[RawCase], draw: Draw, raw: Path) -> tuple[SplitRow, ...]:
    group_of = {case.id: case.group or case.id for case in cases}
    given_splits = {case.id: case.split for case in cases if case.split is not None}
    missing = set(group_of) - set(given_splits)
    if draw.together:
        if given_splits:
            raise UserError(
                "'together' says how a split is drawn, and the files say what it is",
                where=raw,
                remedy="leave 'together' out, and correct the splits that they say",
            )
        group_of = _with_together(group_of, draw.together)
    if given_splits and missing:
        raise ListedError("some cases have a split and others none:", sorted(missing), where=raw, remedy="give all one")
    split_of = given_splits or draw_split(group_of, draw, where=raw)
    return tuple(SplitRow(case, group, split_of[case]) for case, group in group_of.items())


def _with_together(group_of: Mapping[str, str], together: Sequence[Sequence[str]]) -> dict[str, str]:
    """Groups with those of the cases named together made one, under the first one's name."""
    for name in (name for cases in together for name in cases if name not in group_of):
        raise UserError(
            f"there is no case '{name}' among {len(group_of)}",
            where="split.together",
            remedy="name cases by their ids, as the split file has them",
        )
    named: dict[str, str] = {}
    for groups in merged_groups([[same_group(group_of[name]) for name in cases] for cases in together]):
        first = next(group for group in group_of.values() if same_group(group) in groups)
        named.update(dict.fromkeys(groups, first))
    return {case: named.get(same_group(group), group) for case, group in group_of.items()}


def _compare(old: Sequence[SplitRow], new: Sequence[SplitRow], path: Path) -> None:
    """A split never changes silently: figures measured before and after could not be compared."""
    before, now = {row.id: row for row in old}, {row.id: row for row in new}
    problems = [f"case without a line: {name}" for name in now if name not in before]
    problems += [f"line without a case: {name}" for name in before if name not in now]
    if problems:
        raise ListedError(
            f"the split file and the raw files do not agree ({len(problems)} problem(s)):",
            problems,
            where=path,
            remedy="to keep the split, complete a copy of the file by hand and name it as 'split_file'; "
            "to draw a new one, whose scores cannot be compared with earlier ones, delete the file",
        )
    changed = [name for name in now if now[name] != before[name]]
    if changed:
        raise UserError(
            f"the split file is not the one these settings give: {len(changed)} of {len(now)} cases differ "
            f"({', '.join(changed[:5])}{', …' if len(changed) > 5 else ''})",
            where=path,
            remedy="to keep it, name a copy of it as 'split_file'; to replace it, delete it",
        )


def draw_split(group_of: Mapping[str, str], draw: Draw, *, where: Path) -> dict[str, str]:
    """The split of each case, in the order of `group_of` (case -> group); the same for the same seed and cases.

    Groups are taken in the order of SHA-256("<seed> <group>"), whatever their size, so that no split gets all the
    small ones (but those too large for the smallest share come first); each goes to the split that lacks the largest
    part of its share, of those that lack half the group or more. No share is missed by more than twice the largest
    group, and every split has a group. Names that differ in case or spaces alone are one group. `where` is for the
    message. Raises UserError where there are fewer groups than splits.
    """
    cases_of: dict[str, list[str]] = defaultdict(list)
    first_names: dict[str, str] = {}  # the first of all names of a group
    for case, group in group_of.items():
        cases_of[first_names.setdefault(same_group(group), group)].append(case)
    if len(cases_of) < len(SPLITS):
        raise UserError(
            f"{len(cases_of)} group(s) of cases cannot be shared among {', '.join(SPLITS)}",
            where=where,
            remedy="give more patients or sequences, or a split file of your own (split_file)",
        )
    target_sizes = {split: share * len(group_of) for split, share in zip(SPLITS, draw.fractions, strict=True)}
    lacking, empty = dict(target_sizes), set(SPLITS)
    split_of: dict[str, str] = {}
    least = min(target_sizes.values())
    groups = sorted(cases_of, key=lambda group: (len(cases_of[group]) <= 2 * least, drawing_order(draw.seed, group)))
    for number, group in enumerate(groups):
        size = len(cases_of[group])
        fitting = [split for split in SPLITS if lacking[split] >= size / 2]
        if len(groups) - number <= len(empty):  # just enough groups are left for the splits without one
            best = max(sorted(empty), key=lambda split: lacking[split])
        elif fitting:
            best = max(fitting, key=lambda split: lacking[split] / target_sizes[split])
        else:
            best = max(SPLITS, key=lambda split: lacking[split])
        lacking[best] -= size
        empty.discard(best)
        split_of.update(dict.fromkeys(cases_of[group], best))
    return {case: split_of[case] for case in group_of}


def drawing_order(seed: int, group: str) -> str:
    """A drawn place of a group among all: no random generator whose algorithm may change, and anyone can repeat it."""
    return hashlib.sha256(f"{seed} {group}".encode()).hexdigest()
