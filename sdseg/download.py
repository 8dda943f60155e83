"""Raw files of a dataset, found and recorded: every file with its size and checksum, and one fingerprint over all.

The record is what later stages depend on: it changes when a raw file's content, name or number does, and not when
the folder is copied or touched. Whole files are hashed, since a corrected label may keep its size; that reads about
a gigabyte per second and runs once.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from sdseg.artifacts import sha256_file, sha256_text, write_json
from sdseg.data.layouts import find_cases
from sdseg.data.parallel import each
from sdseg.data.sources import source_named
from sdseg.errors import UserError

__all__ = ["download"]

FORMAT = 1
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _File:
    path: str  # below the raw folder, with forward slashes
    size: int  # bytes
    sha256: str


def download(*, source: str, raw: Path, output: Path) -> str:
    """Check that `raw` holds the dataset in its owner's layout, write the record to `output`, return the fingerprint.

    The record is JSON: format, source, n_cases, n_files, bytes, fingerprint (SHA-256 over path, size and SHA-256 of
    every file), files. It holds no absolute path and no time: same files, same record.

    Raises UserError or ListedError where the folder is missing or empty, or its files are no complete pairs.
    """
    record = source_named(source)
    cases = find_cases(record, raw)
    paths = sorted({path for case in cases for path in (case.image, case.label)})
    files = each(
        lambda path: _recorded(path, raw),
        paths,
        jobs=min(4, os.cpu_count() or 1),
        title=f"{record.title}, checksums",
        where=raw,
        remedy="allow yourself to read them, or copy them anew",
    )
    fingerprint = sha256_text("".join(f"{file.sha256} {file.size} {file.path}\n" for file in files))
    write_json(
        output,
        {
            "format": FORMAT,
            "source": record.name,
            "n_cases": len(cases),
            "n_files": len(files),
            "bytes": sum(file.size for file in files),
            "fingerprint": fingerprint,
            "files": [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in files],
        },
    )
    log.info("%s: %d cases in %d files, fingerprint %s", record.title, len(cases), len(files), fingerprint[:12])
    return fingerprint


def _recorded(path: Path, raw: Path) -> _File:
    try:
        return _File(path.relative_to(raw).as_posix(), path.stat().st_size, sha256_file(path))
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}", where=path, remedy="check its permissions and the disk"
        ) from None
