"""Finding files by their names: in folders whose names tell the id of a case, or by patterns that hold it."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path

from sdseg.config.channels import ID

__all__ = ["NOT_UNDERSTOOD", "files_by_id", "is_there", "natural", "short_path"]


NOT_UNDERSTOOD = "file name not understood"


def is_there(raw: Path, place: str) -> bool:
    """Whether a place of files, a folder or a pattern, leads to something below `raw`."""
    return next(_matching(raw, place), None) is not None if ID in place else (raw / place).is_dir()


def files_by_id(
    raw: Path,
    folders: tuple[str, ...],
    suffixes: tuple[str, ...],
    name: str,
    problems: list[str],
    series: bool = False,
    annotators: tuple[str, ...] = (),
    hint: str = "",
) -> dict[tuple[str, str], Path]:
    """The files with one of `suffixes` by id and annotator, who is "" where nothing tells him.

    `folders` may be patterns. What does not fit is added to `problems`.
    """
    paths: dict[tuple[str, str], Path] = {}
    for folder, owner in zip(folders, annotators or ("",) * len(folders), strict=True):
        for path, match in _named(raw, folder, name, suffixes, series):
            annotator = (match.groupdict().get("annotator", owner) or "") if match else ""
            if match is None or (not annotator and "annotator" in match.groupdict()):
                problems.append(f"{NOT_UNDERSTOOD}: {short_path(path, raw)}")
                continue
            key = (match["id"], annotator)
            if key in paths:
                problems.append(f"id '{key[0]}' twice: {short_path(paths[key], raw)}, {short_path(path, raw)}{hint}")
            else:
                paths[key] = path
    return paths


def _named(
    raw: Path, place: str, name: str, suffixes: tuple[str, ...], series: bool
) -> Iterator[tuple[Path, re.Match[str] | None]]:
    """The files of a place with what tells their id; None where the name does not fit."""
    if ID in place:
        yield from ((path, match) for path, match in _matching(raw, place) if _stem(path, suffixes, series) is not None)
        return
    for path in sorted((raw / place).iterdir()) if (raw / place).is_dir() else ():
        stem = _stem(path, suffixes, series)
        if stem is not None and not path.name.startswith("."):
            yield path, re.fullmatch(name, stem)


def _matching(raw: Path, pattern: str) -> Iterator[tuple[Path, re.Match[str]]]:
    """What lies below `raw` where the pattern says; `*` in it stands for anything but a slash."""
    pieces = pattern.split(ID)
    starred = "*".join("*".join(glob.escape(part) for part in piece.split("*")) for piece in pieces)
    fixed = ["[^/]*".join(re.escape(part) for part in piece.split("*")) for piece in pieces]
    wanted = re.compile(fixed[0] + r"(?P<id>[^/]+)" + r"(?P=id)".join(fixed[1:]))
    for path in sorted(raw.glob(starred)):
        match = wanted.fullmatch(path.relative_to(raw).as_posix())
        if match is not None and not path.name.startswith("."):
            yield path, match


def _stem(path: Path, suffixes: tuple[str, ...], series: bool) -> str | None:
    """The name without its suffix, None for what is neither such a file nor, with `series`, a folder."""
    if path.is_dir():
        return path.name if series else None
    suffix = next((ending for ending in suffixes if path.name.lower().endswith(ending)), None)
    return path.name[: -len(suffix)] if suffix else None  # a pipe, or a link to nowhere, is told when it is read


def short_path(path: Path, raw: Path) -> str:
    return path.relative_to(raw).as_posix()


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorting key that counts: frame 2 comes before frame 10."""
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part)
