"""One file over HTTP, however often the connection breaks: resumed, retried, checked, then renamed in one step."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from sdseg import __version__
from sdseg.core.credentials import redact
from sdseg.core.errors import UserError
from sdseg.download.accounts import Address, UnreachableError
from sdseg.download.partial_download import PartialDownload, cannot_write, check_writable, checksum_of

__all__ = ["Patience", "fetch"]

BLOCK = 1 << 20  # bytes
FATAL = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.TooManyRedirects,
    requests.exceptions.SSLError,
)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long to go on trying."""

    attempts: int = 6  # in a row that bring no new byte
    pause: float = 2.0  # seconds before the second attempt; doubled before each further one
    longest: float = 60.0  # seconds, for a pause and for a server that asks for one
    connect: float = 10.0  # seconds
    read: float = 60.0  # seconds without a byte


class _AgainError(Exception):
    """The attempt failed in a way that another may not."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        self.why, self.wait = why, wait
        super().__init__(why)


def fetch(
    locate: Callable[[], Address],
    target: Path,
    *,
    size: int | None = None,
    checksum: str | None = None,
    patience: Patience = Patience(),
) -> str | None:
    """Fetch to `target`; return the checksum it was held against, None where there is none.

    `locate` is asked for the address first, and again when a signed one has expired. Bytes gather in `<target>.part`
    and are continued there by a later call, as long as the server's file is the same. The checksum an address comes
    with wins over `checksum`. Raises UserError when the server refuses, sends a page instead of a file, a file of
    another size or checksum, no new byte in `patience.attempts` attempts, and when the disk is full.
    """
    check_writable(target)
    part = PartialDownload(target)
    resumed = part.size > 0
    address = _repeat(locate, part, patience)
    expected = address.checksum or checksum
    expected_size = address.size or size
    if expected_size is not None and part.size != expected_size:
        received = part.size
        part.discard()
        raise UserError(
            f"'{target.name}' has {received:,} bytes where {expected_size:,} were expected: cut short, or another file",
            where=redact(address.url),
            remedy="run again; if it stays so, the owner has replaced the file: correct the registry",
        )
    if expected is not None and (found_sum := checksum_of(part.path, expected.partition(":")[0])) != expected:
        part.discard()
        if resumed:  # bytes of an earlier run may have been of another file
            log.warning("%s: the resumed file is not the one expected; starting anew", target.name)
            return fetch(locate, target, size=size, checksum=checksum, patience=patience)
        raise UserError(
            f"'{target.name}' is not the file expected: {found_sum} instead of {expected}",
            where=redact(address.url),
            remedy="run again; if it stays so, the owner has replaced the file: correct the registry once you know why",
        )
    part.finish()
    return expected


class _ExpiredError(Exception):
    """The server forbids what it allowed a moment ago: a signed address holds for a while only."""


def _repeat(locate: Callable[[], Address], part: PartialDownload, patience: Patience) -> Address:
    """Attempts until every byte is there."""
    failures, furthest, address, why = 0, part.size, None, ""
    start = part.size  # where the present address began
    with requests.Session() as session:
        session.headers.update({"User-Agent": f"sdseg/{__version__}", "Accept-Encoding": "identity"})
        while failures < patience.attempts:
            wait = 0.0
            try:
                if address is None:
                    address, start = locate(), part.size
                if not part.complete:
                    _attempt(session, address.url, part, patience)
                return address
            except _AgainError as error:
                why, wait = error.why, error.wait
            except UnreachableError as error:
                why = error.what
            except _ExpiredError:
                if part.size == start:  # it never held
                    raise _forbidden(part, address) from None
                why, address = "the address has expired", None
            if (
                part.size > furthest
            ):  # a server without ranges that breaks off at the same byte each time is no progress
                failures, furthest = 0, part.size
            failures += 1
            wait = min(patience.longest, max(wait, patience.pause * 2 ** (failures - 1)))
            if failures < patience.attempts:
                log.info("%s: %s; attempt %d in %.0f s", part.target.name, redact(why), failures + 1, wait)
                time.sleep(wait)
    raise UserError(
        f"'{part.target.name}' could not be fetched in {patience.attempts} attempts; the last one: {redact(why)}",
        where=redact(address.url) if address else None,
        remedy=f"check the network and run again: {part.size:,} bytes are kept and continued from",
    )


def _attempt(session: requests.Session, url: str, part: PartialDownload, patience: Patience) -> None:
    """One request; returns when the last byte is there."""
    start, headers = part.size, {}
    if start:
        headers["Range"] = f"bytes={start}-"
        if part.validator and not part.validator.startswith("W/"):
            headers["If-Range"] = part.validator
    try:
        with session.get(url, headers=headers, stream=True, timeout=(patience.connect, patience.read)) as response:
            _check_answer(response, part)
            stream: BinaryIO
            if response.status_code == 206:
                _check_continues(response, part)
                stream = part.path.open("ab")
            else:
                length = response.headers.get("Content-Length", "")
                validator = response.headers.get("ETag") or response.headers.get("Last-Modified", "")
                stream = part.begin(validator, int(length) if length.isdigit() else None)
            with stream:
                _receive(response, part, stream)
    except FATAL as error:
        raise UserError(
            f"'{part.target.name}' cannot be fetched: {redact(str(error))[:300]}",
            where=redact(url),
            remedy="check the address in the registry, and the certificates and proxy of this machine",
        ) from None
    except (requests.RequestException, HTTPError) as error:
        raise _AgainError(f"the connection failed ({type(error).__name__})") from None
    except OSError as error:
        raise cannot_write(part.path, error) from None
    if part.total is not None and part.size < part.total:
        raise _AgainError(f"the connection ended after {part.size:,} of {part.total:,} bytes")


def _check_answer(response: requests.Response, part: PartialDownload) -> None:
    status, kind = response.status_code, response.headers.get("Content-Type", "").lower()
    visited = [*(each.url for each in response.history), response.url]
    if visited[0].startswith("https:") and not all(each.startswith("https:") for each in visited):
        raise UserError(
            f"'{part.target.name}' would be fetched without encryption: the server passes on to another address",
            where=redact(response.url),
            remedy="fetch it with your browser if you trust that address, and lay it into the manual folder",
        )
    if status in (408, 425, 429) or status >= 500:
        after = response.headers.get("Retry-After", "")
        raise _AgainError(f"the server answered {status}", float(after) if after.isdigit() else 0.0)
    if status == 416:
        part.discard()
        raise _AgainError("the server has no such range; starting anew")
    if status in (401, 403):
        raise _ExpiredError
    if status not in (200, 206):
        raise UserError(
            f"'{part.target.name}' cannot be fetched: the server answered {status}",
            where=redact(response.url),
            remedy="see whether its owner has moved it, then correct the registry",
        )
    if kind.startswith(("text/html", "application/xhtml")):
        raise _page(response, part)


def _check_continues(response: requests.Response, part: PartialDownload) -> None:
    """A part of another file, or from another byte on, is never put behind what is there."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    now = response.headers.get("ETag") or response.headers.get("Last-Modified", "")
    same = match is not None and int(match[1]) == part.size and match[2] in ("*", str(part.total))
    if not same or now != part.validator:
        part.discard()
        raise _AgainError("the server's file has changed; starting anew")


def _receive(response: requests.Response, part: PartialDownload, stream: BinaryIO) -> None:
    start = part.size
    if part.total is not None and (free := shutil.disk_usage(part.path.parent).free) < part.total - start:
        raise UserError(
            f"'{part.target.name}' needs {part.total - start:,} bytes more; {free:,} are free",
            where=part.path.parent,
            remedy="make room, or let 'downloads' of the configuration name a folder on another disk",
        )
    name, reported = part.target.name, time.monotonic()
    with tqdm(total=part.total, initial=start, desc=name, unit="B", unit_scale=True, disable=None, leave=False) as bar:
        # What has arrived, not a full block: a break loses nothing of what came before it.
        while block := response.raw.read1(BLOCK, decode_content=False):
            if stream.tell() == 0 and re.match(rb"\s*<(!doctype html|html)\b", block[:200], re.IGNORECASE):
                part.discard()
                raise _page(response, part)
            stream.write(block)
            bar.update(len(block))
            if time.monotonic() - reported > 30:  # for the log of a job, which shows no bar
                reported = time.monotonic()
                log.info("%s: %s of %s bytes", name, f"{stream.tell():,}", f"{part.total:,}" if part.total else "?")


def _page(response: requests.Response, part: PartialDownload) -> UserError:
    return UserError(
        f"the server sent a web page instead of '{part.target.name}': a login, terms to accept, or an error",
        where=redact(response.url),
        remedy="open the address in a browser; lay the file into the manual folder, or correct the registry",
    )


def _forbidden(part: PartialDownload, address: Address | None) -> UserError:
    return UserError(
        f"'{part.target.name}' cannot be fetched: the server forbids it",
        where=redact(address.url) if address else None,
        remedy="see whether its owner now asks for a login; then fetch it by hand into the manual folder",
    )
