"""What a killed writer leaves beside a file or folder: half of the new one, or the old one moved away."""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path

__all__ = ["remove_leftovers"]

log = logging.getLogger(__name__)


def remove_leftovers(path: Path, *, within: bool = False) -> None:
    """Remove what killed writers of `path` left beside it; of anything in the folder `path` with `within`.

    Only for the one that may write there now: what a living process is writing looks the same. A folder that was
    replaced by half, moved away and the new one not yet in its place, is put back.
    """
    folder, name = (path, ".+") if within else (path.parent, re.escape(path.name))
    ours = re.compile(rf"\.({name})\.[a-z0-9_]{{8}}\.(part|old)")  # as `atomic_file` and `atomic_folder` name them
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name.endswith(".part"))  # what was moved away first
    except OSError:
        return
    for entry in entries:
        match = ours.fullmatch(entry.name)
        if match is None:
            continue
        final = entry.with_name(match[1])
        if match[2] == "old" and not final.exists():
            log.warning("putting back what a run that was killed had moved away: %s", final)
            os.replace(entry, final)
            continue
        log.info("removing what a run that was killed left: %s", entry)
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
