"""What a command may replace: its own files and nothing else, and nothing in the folder of somebody's raw data."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from sdseg.core.errors import UserError

__all__ = ["check_apart", "check_owned", "check_record"]

KNOWN = (".snakemake_timestamp",)  # what Snakemake leaves in a folder that is an output


def check_owned(path: Path, owned: Collection[str]) -> None:
    """Raise UserError unless `path` may be replaced: it is missing, or a folder that holds our own files alone.

    `owned` names files below the folder, with wildcards that stop at a slash ("overlays/*.png"). Folders below are
    looked through, so a file of the user's that lies beside ours in one of them is found; links are not followed.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError("the output is a file; a folder is expected", where=path, remedy="name another output folder")
    exact, patterns = {*owned, *KNOWN}, [pattern.split("/") for pattern in owned]
    foreign = next((name for name in _files(path) if name not in exact and not _fits(name, patterns)), None)
    if foreign is not None:
        raise UserError(
            f"the output folder holds '{foreign}', which this command did not write; the folder would be replaced",
            where=path,
            remedy="name a new folder, or one that this command wrote",
        )


def check_apart(output: Path, kept: Path, *, written: str = "the output", read: str = "the raw folder") -> None:
    """Raise UserError where `output` is the folder `kept`, lies in it or holds it, by whatever links: it is only read.

    `written` and `read` are what a message calls them.
    """
    output_path, kept_path = output.resolve(), kept.resolve()
    if output_path == kept_path:
        what = f"{written} is {read} itself"
    elif kept_path in output_path.parents:
        what = f"{written} lies in {read} {kept}"
    elif output_path in kept_path.parents:
        what = f"{written} holds {read} {kept}"
    else:
        return
    raise UserError(f"{what}, which is only read", where=output, remedy="name an output elsewhere")


def check_record(path: Path, keys: Collection[str]) -> None:
    """Raise UserError where `path` is there and is no JSON file of ours, which has all of `keys`."""
    if not path.exists():
        return
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict) or not set(keys) <= record.keys():
        raise UserError(
            "this is there already, and not what this command writes: it would be replaced",
            where=path,
            remedy="name another output file",
        )


def _files(folder: Path) -> Iterator[str]:
    """Paths below `folder` of everything that is no folder, sorted level by level."""
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            yield from (f"{entry.name}/{name}" for name in _files(entry))
        else:
            yield entry.name


def _fits(name: str, patterns: Collection[list[str]]) -> bool:
    parts = name.split("/")
    return any(len(parts) == len(each) and all(map(fnmatchcase, parts, each)) for each in patterns)
