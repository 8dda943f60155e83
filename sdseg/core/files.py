"""Files: atomic writes, validated reads, checksums."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sdseg import __version__
from sdseg.core.errors import UserError
from sdseg.core.overwrite_checks import check_owned

__all__ = [
    "atomic_file",
    "atomic_folder",
    "csv_text",
    "json_or_empty",
    "make_folder",
    "not_writable",
    "parse_json",
    "read_json",
    "sha256_file",
    "sha256_text",
    "write_json",
    "write_text",
]


Manifest = TypeVar("Manifest", bound=BaseModel)


FORMAT = 1


TEMPORARY = 40  # letters of its name that a temporary file has as well: names may be as long as the disk takes


_WRITE_ERRORS = {
    errno.ENOSPC,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EDQUOT,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
}


def csv_text(header: Sequence[object], lines: Iterable[Sequence[object]]) -> str:
    """A table as CSV, its lines ended by \\n alone: the same bytes on every system."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one step: a reader sees the old file or the new one."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: BaseModel | dict[str, Any] | list[Any]) -> None:
    """Write a manifest or plain value as indented JSON, atomically; NaN is refused."""
    data = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    write_text(path, json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path, model: type[Manifest]) -> Manifest:
    """Read and validate a manifest. Raises UserError when it is missing, truncated or of another format."""
    kind = model.__name__
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"the {kind} file is missing", where=path, remedy="run the stage that makes it, or name another folder"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the {kind} file: {error}", where=path, remedy="check the file") from None
    return parse_json(text, model, where=path)


def json_or_empty(path: Path) -> dict[str, Any]:
    """What a JSON file holds that one can do without; empty where it is missing, damaged or no mapping."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def parse_json(text: str, model: type[Manifest], *, where: Path) -> Manifest:
    """Validate a manifest's text, read from `where`. Raises UserError when it is truncated or of another format."""
    odd: list[str] = []  # NaN, Infinity, -Infinity, which Python reads

    def constant(name: str) -> float:
        odd.append(name)
        return float(name)

    try:
        data = json.loads(text, parse_constant=constant)
    except (ValueError, RecursionError) as error:  # JSONDecodeError; numbers of too many digits
        raise UserError(
            f"not valid JSON ({error}): the file is truncated or not ours", where=where, remedy="make it again"
        ) from None
    format_ = data.get("format") if isinstance(data, dict) else None
    if isinstance(format_, int) and format_ > FORMAT:
        raise UserError(
            f"format {format_} is newer than this sdseg {__version__} understands ({FORMAT})",
            where=where,
            remedy="update sdseg",
        )
    try:
        manifest = model.model_validate(data)
    except ValidationError as error:
        raise UserError(
            f"not a {model.__name__}: {_first_problem(error)}", where=where, remedy="make it again with this version"
        ) from None
    if odd:  # in a part whose values are free
        raise UserError(f"{odd[0]} in it, which is no number of JSON", where=where, remedy="make it again")
    return manifest


def _first_problem(error: ValidationError) -> str:
    """The first problem of a manifest: key, what is wrong, and the value where it is short."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    message = message if first["type"] == "value_error" else message[:1].lower() + message[1:]
    value = first["input"]
    value_shown = f" (it is {value!r})" if isinstance(value, int | float | str) and len(repr(value)) <= 40 else ""
    return f"'{key}' {message}{value_shown}"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends without an error."""
    parent = path.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:TEMPORARY]}.", suffix=".part", dir=parent)
        os.close(handle)
    except OSError as error:
        raise not_writable(parent, error) from None
    temporary = Path(name)
    try:
        yield temporary
        _umask_mode(temporary)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in _WRITE_ERRORS:
            raise not_writable(path, error) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, owned: Collection[str]) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of `path` when the block ends without an error.

    `owned` names what a folder already there may hold (overwrite_checks.py `check_owned`): anything else is the user's,
    and a UserError, before the block and again before the folder is replaced. A link stays, and its folder is replaced.
    """
    check_owned(path, owned)
    if path.is_symlink():
        path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        temporary.chmod(0o755)
    except OSError as error:
        raise not_writable(path.parent, error) from None
    previous = temporary.with_suffix(".old")
    try:
        yield temporary
        check_owned(path, owned)  # hours may have gone by
        try:
            if path.exists():
                os.replace(path, previous)
            os.replace(temporary, path)
        except OSError as error:
            raise not_writable(path, error) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):  # from the block itself: the disk is full
            raise not_writable(path, error) from error
        raise
    finally:
        if previous.exists() and not path.exists():  # failed or interrupted between the two replacements
            os.replace(previous, path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(previous, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, before work begins whose result goes there. Raises UserError if it cannot."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(path, error) from None
    if not os.access(path, os.W_OK):
        raise not_writable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def not_writable(path: Path, error: OSError) -> UserError:
    """The error that says why nothing can be written there."""
    if error.errno == errno.ENAMETOOLONG:
        return UserError(
            f"the name is too long for the disk: '{path.name[:40]}…' has {len(os.fsencode(path.name))} bytes",
            where=path.parent,
            remedy="give the file or case it is named after a shorter name; most disks take 255 bytes",
        )
    return UserError(
        f"cannot write: {error.strerror or error}",
        where=path,
        remedy="choose an output folder you may write to, on a disk with space left",
    )


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _umask_mode(path: Path) -> None:
    """mkstemp makes files private; give them the permissions an ordinary write would have given."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
