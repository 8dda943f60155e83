"""What `download` says of raw files that are complete, as typed records."""

from __future__ import annotations

from typing import Any

from sdseg.artifacts.results.record import FORMAT, Record

__all__ = ["RawFile", "RawFiles"]


class RawFile(Record):
    path: str  # below the raw folder, with forward slashes
    size: int  # bytes
    sha256: str


class RawFiles(Record):
    """The record of one dataset's files; the same files give the same record."""

    format: int = FORMAT
    source: str
    n_cases: int
    n_files: int
    bytes: int
    fingerprint: str  # SHA-256 over path, size and SHA-256 of every file
    archives: tuple[dict[str, Any], ...] | None  # what they were unpacked from; None where that was not done here
    files: tuple[RawFile, ...]
