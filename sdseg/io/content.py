"""The whole content of a file of the user's, or the one message that says why there is none."""

from __future__ import annotations

import stat
from pathlib import Path

from sdseg.core.errors import UserError, first_line
from sdseg.io.limits import check_memory

__all__ = ["content_of", "file_size", "missing", "unreadable"]

KINDS = (  # what waits for ever, or never ends, when it is read
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def content_of(path: Path) -> bytes:
    """All bytes of a file.

    Raises UserError where it is missing, empty, larger than the memory, no ordinary file or cannot be read.
    """
    size = file_size(path)
    check_memory(size, path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    if not data:
        raise UserError("the file is empty", where=path, remedy="replace the file by a whole copy")
    return data


def file_size(path: Path) -> int:
    """Bytes of a file. Raises UserError unless it is an ordinary one, or a link to one: before any library opens it."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:  # a link that leads in a circle, a folder that may not be looked into
        raise unreadable(path, error) from None
    for is_kind, name in KINDS:
        if is_kind(status.st_mode):
            raise UserError(
                f"{name}; an ordinary file is expected",
                where=path,
                remedy="write what it gives into a file, and name that",
            )
    return status.st_size


def missing(path: Path) -> UserError:
    """The error of a file that is not there."""
    return UserError("the file is missing", where=path, remedy="check the path and its spelling")


def unreadable(path: Path, error: Exception) -> UserError:
    """The error of a file that a library cannot read, with the first line of what the library says."""
    reason = getattr(error, "strerror", None) or first_line(error)
    return UserError(f"cannot be read: {reason}", where=path, remedy="replace the file by a whole, valid copy")
