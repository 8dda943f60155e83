"""Split files: which case trains, validates and tests. They are read and checked, never computed at run time."""

from __future__ import annotations

import csv
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sdseg.core.errors import ListedError, UserError, nearest

__all__ = [
    "HEADER",
    "SPLITS",
    "SplitRow",
    "check_split",
    "grouped_protocol",
    "impure_groups",
    "merged_groups",
    "read_split",
    "same_group",
    "validated_protocol",
]

SPLITS = ("train", "val", "test")
HEADER = ["id", "group", "split"]


@dataclass(frozen=True)
class SplitRow:
    """One case of a split file."""

    id: str
    group: str  # sequence, patient or volume: what must not lie in two splits
    split: str  # train, val or test


def grouped_protocol(protocol: str) -> bool:
    """Whether a protocol must keep groups together: all but the published splits, which did not."""
    return protocol != "paper"


def validated_protocol(protocol: str) -> bool:
    """Whether a protocol must have validation cases: some published splits have none, and a few samples may not."""
    return protocol not in ("paper", "sample")


def read_split(path: Path) -> tuple[SplitRow, ...]:
    """The rows of a split file in its order, without spaces around groups.

    Raises UserError for anything that is not id,group,split.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = list(csv.reader(stream, strict=True))
    except FileNotFoundError:
        raise UserError(
            "the split file is missing",
            where=path,
            remedy="check 'protocol' and 'split_file' of the dataset, and the folder 'splits'",
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read the split file: {error}", where=path, remedy="give a UTF-8 CSV file") from None
    if not lines or lines[0] != HEADER:
        header = ",".join(lines[0]) if lines else "an empty file"
        raise UserError(
            f"the first line must be {','.join(HEADER)}, found {header}", where=path, remedy="correct the first line"
        )
    problems = list(_malformed(lines[1:]))
    if problems:
        raise ListedError(
            f"{len(problems)} problem(s) in the split file:",
            problems,
            where=path,
            remedy="correct the lines named above",
        )
    return tuple(SplitRow(case, group.strip(), split.strip()) for case, group, split in filter(None, lines[1:]))


def check_split(
    rows: Sequence[SplitRow],
    present: Collection[str],
    *,
    where: Path,
    protocol: str,
    allow_missing: bool = False,
) -> tuple[SplitRow, ...]:
    """The rows whose cases are there to be prepared, in the file's order.

    Parameters
    ----------
    rows: what `read_split` gave.
    present: ids found in the raw folder.
    where: the split file, for the message.
    protocol: 'paper' allows groups over several splits and no validation part, 'sample' no validation part.
    allow_missing: leave out rows whose case is not on disk, instead of failing.

    Raises ListedError with every problem: cases on disk that no row names, rows without a case on disk, a group in
    two splits, an empty split.
    """
    on_disk = set(present)
    problems = _listing("case(s) on disk are not in the split file", on_disk - {row.id for row in rows})
    if not allow_missing:
        problems += _listing("case(s) of the split file are not on disk", {row.id for row in rows} - on_disk)
    present_rows = tuple(row for row in rows if row.id in on_disk)
    if grouped_protocol(protocol):
        problems += impure_groups(rows)
    sizes = Counter(row.split for row in present_rows)
    needed = SPLITS if validated_protocol(protocol) else ("train", "test")
    problems += [f"no case is left for '{split}'" for split in needed if not sizes[split]]
    if problems:
        raise ListedError(
            f"the split file and the raw files do not agree ({len(problems)} problem(s)):",
            problems,
            where=where,
            remedy="complete the raw folder or choose another split file (split_file); "
            "with 'allow_missing: true' cases that are not on disk are left out",
        )
    return present_rows


def _malformed(lines: Iterable[Sequence[str]]) -> Iterable[str]:
    first_lines: dict[str, int] = {}
    for number, line in enumerate(lines, start=2):
        if not line:
            continue
        if len(line) != len(HEADER):
            yield f"line {number}: {len(line)} values where {len(HEADER)} are expected"
            continue
        case, group, split = line[0], line[1].strip(), line[2].strip()
        if not case or not group:
            yield f"line {number}: empty id or group"
        if split not in SPLITS:
            yield f"line {number}: unknown split '{split}', {nearest(split, SPLITS)}"
        if case in first_lines:
            yield f"line {number}: '{case}' again, first in line {first_lines[case]}"
        first_lines.setdefault(case, number)


def same_group(name: str) -> str:
    """What all ways to write the name of a group have in common: 'P1 ', 'p1' and 'Ｐ１' are one patient."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())


def impure_groups(rows: Iterable[SplitRow]) -> list[str]:
    """One problem for each group that lies in two splits, under one name or under names that differ in case alone."""
    splits: dict[str, set[str]] = defaultdict(set)
    names: dict[str, dict[str, None]] = defaultdict(dict)  # in the order of the rows
    for row in rows:
        key = same_group(row.group)
        splits[key].add(row.split)
        names[key][row.group] = None
    return [
        f"{_named(list(names[key]))} in {' and '.join(sorted(parts))}: its cases are alike, so scores would be too high"
        for key, parts in splits.items()
        if len(parts) > 1
    ]


def _named(names: Sequence[str]) -> str:
    """A group by its name, or by all of its names."""
    if len(names) == 1:
        return f"group '{names[0]}' lies"
    quoted = " and ".join(f"'{name}'" for name in names)
    return f"groups {quoted}, one by their names (if they are two, name them apart), lie"


def _listing(what: str, ids: Collection[str], most: int = 8) -> list[str]:
    """One problem that names the first few ids, or none."""
    if not ids:
        return []
    names = sorted(ids)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return [f"{len(names)} {what}: {', '.join(names[:most])}{more}"]


def merged_groups(lists: Iterable[Collection[str]]) -> list[tuple[str, ...]]:
    """Lists that share a member made one; each member once, in the order of the first mention."""
    merged: list[dict[str, None]] = []
    for members in lists:
        touching = [one for one in merged if not one.keys().isdisjoint(members)]
        whole = dict.fromkeys(name for one in [*touching, dict.fromkeys(members)] for name in one)
        merged = [one for one in merged if one not in touching] + [whole]
    return [tuple(one) for one in merged]
