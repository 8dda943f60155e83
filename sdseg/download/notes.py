"""What was seen of the archives of one dataset: the checksum each had at first, and where it came from."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import Field

from sdseg.core.errors import UserError
from sdseg.core.files import read_json, write_json
from sdseg.core.settings import Strict
from sdseg.datasets.registry import RemoteFile
from sdseg.download.partial_download import checksum_of

__all__ = ["Archive", "Notes", "Origin", "origin_of", "write_origin"]

MARK = ".sdseg-origin.json"  # hidden: no part of the dataset
log = logging.getLogger(__name__)


class Archive(Strict):
    """An archive as it was unpacked."""

    file: str
    size: int  # bytes
    checksum: str  # sha256:… or md5:…
    came_from: str  # address without secrets, or "by hand"


class Origin(Strict):
    """`.sdseg-origin.json` in a raw folder that was unpacked here."""

    source: str
    version: str
    archives: tuple[Archive, ...]


class _KnownArchive(Strict):
    checksum: str
    came_from: str


class _KnownArchives(Strict):
    files: dict[str, _KnownArchive] = Field(default_factory=dict)


class Notes:
    """`checksums.json` beside the downloads of one dataset."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "checksums.json"
        self._book = read_json(self.path, _KnownArchives) if self.path.exists() else _KnownArchives()

    def know(self, file: str) -> bool:
        return file in self._book.files

    def write(self, file: str, checksum: str, came_from: str) -> None:
        """Remember what was fetched; a later copy of the file is compared with it."""
        files = {**self._book.files, file: _KnownArchive(checksum=checksum, came_from=came_from)}
        self._book = _KnownArchives(files=dict(sorted(files.items())))
        write_json(self.path, self._book)

    def check(self, file: RemoteFile, path: Path, *, by_hand: bool) -> Archive:
        """Compare an archive on disk with the registry, or with what was first seen of it where that has no checksum.

        Raises UserError where it has another size or checksum than the registry says. One that merely differs from the
        first seen is warned about and taken.
        """
        size, known = path.stat().st_size, self._book.files.get(file.name)
        if file.size is not None and size != file.size:
            raise _other(file, path, by_hand, f"{size:,} bytes instead of {file.size:,}")
        came_from = "by hand" if by_hand or known is None else known.came_from
        if file.checksum is None:
            digest = checksum_of(path)
            if known is None:
                log.warning("no checksum of %s is published; the first one seen is in %s", file.name, self.path)
                self.write(file.name, digest, came_from)
            elif known.checksum != digest:
                log.warning(
                    "%s has changed: %s instead of %s, the first one seen (%s). Has its owner replaced it?",
                    *(path, digest, known.checksum, self.path),
                )
            return Archive(file=file.name, size=size, checksum=digest, came_from=came_from)
        accepted = {file.checksum}
        if known is not None and file.checksum_from != "owner":  # the owner's own, learnt when it was fetched
            accepted.add(known.checksum)
        sums = {checksum_of(path, kind) for kind in {each.partition(":")[0] for each in accepted}}
        if not sums & accepted:
            raise _other(file, path, by_hand, f"{', '.join(sorted(sums))} instead of {file.expected}")
        return Archive(file=file.name, size=size, checksum=min(sums & accepted), came_from=came_from)


def origin_of(raw: Path) -> Origin | None:
    """Where the files of a raw folder came from, None where they were not unpacked here."""
    path = raw / MARK
    return read_json(path, Origin) if path.exists() else None


def write_origin(raw: Path, origin: Origin) -> None:
    write_json(raw / MARK, origin)


def _other(file: RemoteFile, path: Path, by_hand: bool, checksum: str) -> UserError:
    again = "fetch it again" if by_hand else "delete it and run again"
    return UserError(
        f"'{file.name}' is not the archive expected: {checksum}",
        where=path,
        remedy=f"{again}; if its owner has replaced it, correct the registry once you know why",
    )
