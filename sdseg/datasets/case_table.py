"""A CSV table of cases: image and mask, and where they are known id, group and split."""

from __future__ import annotations

import csv
import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from sdseg.config.dataset import Own
from sdseg.core.errors import ListedError, UserError, nearest
from sdseg.datasets.layouts import RawCase, annotated_case, natural
from sdseg.datasets.split_files import SPLITS
from sdseg.io.images import IMAGE_SUFFIXES
from sdseg.io.volumes import VOLUME_SUFFIXES

__all__ = ["tabled_cases"]

COLUMNS = ("image", "mask", "id", "group", "split")


def tabled_cases(own: Own, table: str, raw: Path) -> tuple[RawCase, ...]:
    """The cases that the table names, a path below `raw`, in natural order of their ids.

    An id is the name of the image without its suffix where the table has no column for it. Other columns are left
    alone, unless their name is one of ours misspelt. Raises ListedError with every problem.
    """
    path = raw / table
    header, lines = _read(path)
    problems = list(_columns(own, header))
    cases: dict[str, RawCase] = {}
    if not problems:
        for number, line in lines:
            entry = _case(own, line, raw, number, problems)
            if entry.id in cases:
                problems.append(
                    f"line {number}: id '{entry.id}' again; give different ids in a column 'id', and masks of several "
                    "annotators in one line, a column each (docs/annotators.md)"
                )
            cases[entry.id] = entry
        n_with_split = sum(case.split is not None for case in cases.values())
        if 0 < n_with_split < len(cases):
            problems.append(f"{n_with_split} of {len(cases)} cases have a split: give all of them one, or none")
        if not cases:
            problems.append("no line below the first")
    if problems:
        raise ListedError(
            f"{len(problems)} problem(s) in the table of cases:",
            problems,
            where=path,
            remedy="correct what is named above; columns are image, mask and, where known, id, group, split",
        )
    return tuple(cases[name] for name in sorted(cases, key=natural))


def _read(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The first line, and the others with their number."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, [])
            lines = [(reader.line_num, line) for line in reader if line]
    except FileNotFoundError:
        raise UserError("the table of cases is missing", where=path, remedy="check 'table' and 'raw'") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read the table: {error}", where=path, remedy="give a UTF-8 CSV file") from None
    uneven = [f"line {number}: {len(line)} values" for number, line in lines if len(line) != len(header)]
    if uneven:
        raise ListedError(
            f"the first line of the table has {len(header)} values, others have not:",
            uneven,
            where=path,
            remedy="separate the columns by commas, and put values that hold one in quotes",
        )
    return header, [(number, dict(zip(header, line, strict=True))) for number, line in lines]


def _columns(own: Own, header: list[str]) -> Iterable[str]:
    """What is wrong with the first line."""
    masks, images = tuple(own.annotators.values()), _image_columns(own)
    for name in (*images, *(masks or ("mask",))):
        if name not in header:
            yield f"column '{name}' is missing; found are {', '.join(header) or 'none'}"
    replaced = (*(("mask",) if masks else ()), *(("image",) if own.channels else ()))
    free = [name for name in COLUMNS if name not in (*header, *replaced)]
    for name in header:  # a misspelt 'group' would let a patient lie in two splits
        close = difflib.get_close_matches(name.strip().lower(), free, n=1, cutoff=0.75)
        if name not in (*COLUMNS, *masks, *images) and close:
            yield f"unknown column '{name}', did you mean '{close[0]}'?"
    if own.group_pattern and "group" in header:
        yield "'group_pattern' is set and the table has a column 'group': keep one of them"


def _case(own: Own, line: Mapping[str, str], raw: Path, number: int, problems: list[str]) -> RawCase:
    """The case of one line; what is wrong with it is added to `problems`."""
    suffixes = IMAGE_SUFFIXES if own.modality == "rgb" else VOLUME_SUFFIXES
    drawn_by = {column: name for name, column in own.annotators.items() if line[column]}  # an empty cell: not by him
    images = _image_columns(own)
    columns = (*images, *(drawn_by or tuple(own.annotators.values())[:1] or ("mask",)))
    paths = {column: raw / os.path.relpath(raw / line[column], raw) for column in columns}
    for column, path in paths.items():
        cell = f"line {number}: {column} '{line[column]}'"
        series = own.modality != "rgb" and column in images and path.is_dir()
        if not line[column]:
            problems.append(f"line {number}: no {column}")
        elif ".." in path.relative_to(raw).parts:
            problems.append(f"{cell} does not lie below the raw folder")
        elif not (series or path.is_file()):
            problems.append(f"{cell} is {'no ordinary file' if path.exists() else 'missing'}")
        elif not series and not path.name.lower().endswith(suffixes):
            problems.append(f"{cell} does not end in {', '.join(suffixes)}")
    group, split = (line.get(column, "").strip() or None for column in ("group", "split"))
    if split not in (None, *SPLITS):
        problems.append(f"line {number}: unknown split '{split}', {nearest(str(split), SPLITS)}")
    if "group" in line and group is None:
        problems.append(f"line {number}: no group")
    first = paths[images[0]]
    name = line.get("id") or _without_suffix(first, suffixes)
    labels = {drawn_by.get(column, ""): path for column, path in paths.items() if column not in images}
    channels = tuple((channel, paths[column]) for channel, column in own.channels.items())
    return replace(annotated_case(name, first, labels, group, split), channels=channels)


def _image_columns(own: Own) -> tuple[str, ...]:
    """The columns of images: one for each channel, where there are several."""
    return tuple(own.channels.values()) or ("image",)


def _without_suffix(path: Path, suffixes: Iterable[str]) -> str:
    longest = max((ending for ending in suffixes if path.name.lower().endswith(ending)), key=len, default="")
    return path.name[: len(path.name) - len(longest)]
