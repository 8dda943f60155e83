"""The whole content of a file of the user's, or the one message that says why there is none."""

from __future__ import annotations

from pathlib import Path

from sdseg.errors import UserError

__all__ = ["content_of", "missing", "unreadable"]


def content_of(path: Path) -> bytes:
    """All bytes of a file. Raises UserError where it is missing, empty or cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:
        raise unreadable(path, error) from None
    if not data:
        raise UserError("the file is empty", where=path, remedy="replace the file by a whole copy")
    return data


def missing(path: Path) -> UserError:
    """The error of a file that is not there."""
    return UserError("the file is missing", where=path, remedy="check the path and its spelling")


def unreadable(path: Path, error: Exception) -> UserError:
    """The error of a file that a library cannot read, with the first line of what the library says."""
    told = getattr(error, "strerror", None) or str(error) or type(error).__name__
    reason = told.splitlines()[0]
    return UserError(f"cannot be read: {reason}", where=path, remedy="replace the file by a whole, valid copy")
