"""Tokens: where they are looked for, and how they are kept out of every message and log."""

from __future__ import annotations

import configparser
import json
import logging
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdseg.core.errors import UserError

__all__ = ["KAGGLE", "SYNAPSE", "Credential", "Place", "credential", "hidden", "redact"]

_QUERY = re.compile(r"\?[^\s'\"<>]*=[^\s'\"<>]*")  # signed addresses carry their key there


@dataclass(frozen=True)
class Credential:
    """A token, or a user name and a key."""

    token: str = field(repr=False)
    user: str | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.token,)


@dataclass(frozen=True)
class Place:
    """Where the credential of one service may lie."""

    service: str
    variables: str  # in words, for messages
    files: str


KAGGLE = Place(
    "Kaggle", "KAGGLE_API_TOKEN (or KAGGLE_USERNAME and KAGGLE_KEY)", "~/.kaggle/access_token or kaggle.json"
)
SYNAPSE = Place("Synapse", "SYNAPSE_AUTH_TOKEN", "~/.synapseConfig, section [authentication], key authtoken")


def credential(place: Place) -> Credential | None:
    """The credential of a service: from the environment, else from the service's own file; never asked for.

    Raises UserError where the service's file is there and cannot be read.
    """
    return _kaggle() if place is KAGGLE else _synapse()


def redact(text: str, secrets: tuple[str, ...] = ()) -> str:
    """`text` without the secrets and without the query of any address."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return _QUERY.sub("?…", text)


@contextmanager
def hidden(secrets: tuple[str, ...]) -> Iterator[None]:
    """While this lasts no log record of any library carries the secrets or the query of an address."""
    before = logging.getLogRecordFactory()

    def factory(*arguments: Any, **named: Any) -> logging.LogRecord:
        record = before(*arguments, **named)
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # a library's own mistake: its format is shown, its values are not
            message = str(record.msg)
        record.msg, record.args = redact(message, secrets), None
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = redact("".join(traceback.format_exception(*record.exc_info)).rstrip(), secrets)
        return record

    logging.setLogRecordFactory(factory)
    try:
        yield
    finally:
        logging.setLogRecordFactory(before)


def _kaggle() -> Credential | None:
    token = os.environ.get("KAGGLE_API_TOKEN", "").strip()
    if token:  # Kaggle's own client takes a path there as well
        return Credential(_text(Path(token)) if Path(token).is_file() else token)
    user, key = os.environ.get("KAGGLE_USERNAME", "").strip(), os.environ.get("KAGGLE_KEY", "").strip()
    if user and key:
        return Credential(key, user)
    folder = Path(os.environ.get("KAGGLE_CONFIG_DIR") or Path.home() / ".kaggle")
    for name in ("access_token", "access_token.txt"):
        if (folder / name).is_file() and (token := _text(folder / name)):
            return Credential(token)
    path = folder / "kaggle.json"
    if not path.is_file():
        return None
    try:
        values = json.loads(_text(path))
        return Credential(str(values["key"]), str(values["username"]))
    except (ValueError, KeyError, TypeError):
        raise _unusable(path, "no JSON with 'username' and 'key'") from None


def _synapse() -> Credential | None:
    token = os.environ.get("SYNAPSE_AUTH_TOKEN", "").strip()
    if token:
        return Credential(token)
    path = Path.home() / ".synapseConfig"
    if not path.is_file():
        return None
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_text(path))
    except configparser.Error:  # its message would show the line
        raise _unusable(path, "no settings file") from None
    token = parser.get("authentication", "authtoken", fallback="").strip()
    return Credential(token) if token else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise _unusable(path, "it cannot be read") from None


def _unusable(path: Path, why: str) -> UserError:
    return UserError(
        f"the credentials file is of no use: {why}",
        where=path,
        remedy="get a new one from the service, or take it away",
    )
