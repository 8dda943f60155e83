"""Checksums beside an entry of the cache: what a disk or a stranger has changed there is not computed with."""

from __future__ import annotations

import json
from pathlib import Path

from sdseg.backends.cache import OTHERS_WRITE, checksum_of, open_to_others
from sdseg.core.files import write_json

__all__ = ["RECORD", "damage_of", "seal"]

RECORD = "checksums.json"


def seal(folder: Path) -> None:
    """Note the SHA-256 of every file of a new entry, and let nobody else write to them."""
    files = _files(folder)
    for path in (*files, folder):
        path.chmod(path.stat().st_mode & ~OTHERS_WRITE)
    write_json(folder / RECORD, {str(path.relative_to(folder)): checksum_of(path) for path in files})
    (folder / RECORD).chmod(0o644)


def damage_of(entry: Path) -> str | None:
    """Why an entry must not be used, None where it is what was kept. Checksums of large files are remembered."""
    files = _files(entry)
    for path in (entry, entry / RECORD, *files):
        if reason := open_to_others(path):
            return reason
    try:
        recorded = json.loads((entry / RECORD).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return "it was kept without checksums"
    present = {str(path.relative_to(entry)): path for path in files}
    if not isinstance(recorded, dict) or recorded.keys() != present.keys():
        return "other files lie there than were kept"
    changed = [name for name, path in present.items() if checksum_of(path) != recorded[name]]
    return f"its file '{changed[0]}' is not the one that was kept" if changed else None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / RECORD)
