"""A file that is still being fetched: its bytes so far, and what is needed to continue it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import BinaryIO

from sdseg.core.errors import UserError
from sdseg.core.files import write_json

__all__ = ["PartialDownload", "cannot_write", "check_writable", "checksum_of"]


class PartialDownload:
    """The bytes so far, and beside them what is needed to know whether the server still has the same file."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            self.validator, self.total = str(note["validator"]), note["total"]
        except (OSError, ValueError, KeyError, TypeError):  # nothing is known of the bytes: they are of no use
            self.validator, self.total = "", None
            self.discard()
        if self.total is not None and self.size > self.total:
            self.discard()

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def complete(self) -> bool:
        return self.total is not None and self.size == self.total

    def begin(self, validator: str, total: int | None) -> BinaryIO:
        """Forget the bytes so far; the empty file comes first, so that they never go with the new note."""
        stream = self.path.open("wb")
        self.validator, self.total = validator, total
        write_json(self._note, {"validator": validator, "total": total})
        return stream

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.validator, self.total = "", None

    def finish(self) -> None:
        os.replace(self.path, self.target)
        self._note.unlink(missing_ok=True)


def checksum_of(path: Path, kind: str = "sha256") -> str:
    """`kind:hexadecimal` of a file, read in blocks."""
    with path.open("rb") as stream:
        return f"{kind}:{hashlib.file_digest(stream, kind).hexdigest()}"


def check_writable(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise cannot_write(target, error) from None


def cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot write: {error.strerror or error}",
        where=path,
        remedy="make room or choose a folder you may write to: 'downloads' of the configuration",
    )
