"""`sdseg split`: which case trains, validates and tests, written to a file once and read from it ever after."""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sdseg.config.dataset import Dataset, Draw
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import write_text
from sdseg.core.locks import writes
from sdseg.data.drawing import draw_split
from sdseg.data.layouts import RawCase
from sdseg.data.opening import open_raw
from sdseg.data.splits import HEADER, SPLITS, SplitRow, impure_groups, read_split

__all__ = ["split"]

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
        write_text(output, _text(rows))
        log.info("written: %s", output)
    counts = Counter(row.split for row in rows)
    log.info("%s: %s", source.title, ", ".join(f"{counts[part]} {part}" for part in SPLITS))
    return rows


def _rows(cases: Sequence[RawCase], draw: Draw, raw: Path) -> tuple[SplitRow, ...]:
    group_of = {case.id: case.group or case.id for case in cases}
    given = {case.id: case.split for case in cases if case.split is not None}
    missing = set(group_of) - set(given)
    if given and missing:
        raise ListedError("some cases have a split and others none:", sorted(missing), where=raw, remedy="give all one")
    chosen = given or draw_split(group_of, draw, where=raw)
    return tuple(SplitRow(case, group, chosen[case]) for case, group in group_of.items())


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


def _text(rows: Sequence[SplitRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows((row.id, row.group, row.split) for row in rows)
    return text.getvalue()
