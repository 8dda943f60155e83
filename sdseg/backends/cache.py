"""What a runtime has made of a graph for this machine, kept so that the next start need not make it again."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import stat
import time
from functools import lru_cache
from pathlib import Path

from sdseg.backends.graph_file import weights_beside
from sdseg.core.errors import UserError
from sdseg.core.files import sha256_text, write_text

__all__ = [
    "cache_entry",
    "cache_folder",
    "checksum_of",
    "graph_bytes",
    "open_to_others",
    "private_folder",
    "prune",
    "used_now",
    "worth_keeping",
]

CACHED_FROM = 20_000_000  # bytes of a graph with its weights: below, a session opens in less than the cache saves
KEPT = 4  # entries of a runtime on disk, each as large as its model; the one not used for longest goes first
REMEMBERED = 64  # checksums of large files
ABANDONED = 86_400.0  # seconds: no process writes an entry for a day
SETTLED = 2.0  # seconds since a file's last change, from which on its times tell every further one
BLOCK = 1 << 20  # bytes read at a time
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def cache_folder() -> Path:
    """Where sdseg keeps what can be made again: SDSEG_CACHE, or ~/.cache/sdseg (XDG_CACHE_HOME is heeded)."""
    own = os.environ.get("SDSEG_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sdseg"


def cache_entry(runtime: str, path: Path, *settings: str) -> Path:
    """The folder for what `runtime` made of a graph: named by the graph with its weights, `settings`, the processor."""
    weights = weights_beside(path)
    parts = [checksum_of(path), checksum_of(weights) if weights.is_file() else "", *settings, _processor()]
    return cache_folder() / runtime / sha256_text("\n".join(parts))[:32]


def checksum_of(path: Path, without: tuple[int, int] | None = None) -> str:
    """SHA-256 of a file, `without` the bytes from one place up to another. That of a large one is kept in the cache.

    It is told again while device, inode, size, time of change and time of change of the inode are the same (as git
    has it): reading 1.4 GB takes longer than opening the graph.
    """
    status = path.stat()
    stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if time.time() - max(status.st_mtime, status.st_ctime) <= SETTLED:
        return _sha256(path, without)
    return _checksum(path.resolve(), stamp, status.st_size >= CACHED_FROM, without)


def open_to_others(path: Path) -> str | None:
    """Why what lies at `path` may be another user's work; None where it can only be our own, or root's."""
    try:
        status = path.stat()
    except OSError:
        return None  # there is nothing
    if status.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to another user"
    if status.st_mode & OTHERS_WRITE:
        return f"others can write to {path}"
    return None


def private_folder(name: str) -> str | None:
    """Make the part `name` of the cache, for ourselves alone. Gives why it must not be used, None where it may.

    One that cannot be made is found out about, and told of, by who wants to write to it.
    """
    for folder in (cache_folder(), cache_folder() / name):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            return None
        if reason := open_to_others(folder):
            return f"{reason}; 'chmod -R go-w' it, empty it, or let SDSEG_CACHE name another folder"
    return None


def worth_keeping(path: Path) -> bool:
    """Whether a graph is so large that making it again takes noticeably long."""
    return graph_bytes(path) >= CACHED_FROM


def graph_bytes(path: Path) -> int:
    """Bytes of a graph and of its weights, where they lie in a file of their own."""
    return sum(file.stat().st_size for file in (path, weights_beside(path)) if file.is_file())


def used_now(entry: Path) -> None:
    """Note that an entry was of use; a cache that may only be read stays as it is."""
    try:
        os.utime(entry)
    except OSError:
        return


def prune(folder: Path) -> None:
    """Remove the entries of a runtime that were not used for longest, and what killed processes left half written."""
    left = [each for each in folder.glob(".*.part") if time.time() - _used(each) > ABANDONED]
    for old in (*_unused(folder, KEPT), *left):
        shutil.rmtree(old, ignore_errors=True)


@lru_cache(maxsize=64)
def _checksum(path: Path, stamp: tuple[int, ...], remember: bool, without: tuple[int, int] | None) -> str:
    if not remember or private_folder("checksums") is not None:
        return _sha256(path, without)
    note = cache_folder() / "checksums" / sha256_text(f"{path} {stamp} {without or ''}".rstrip())[:32]
    try:
        known_checksum = note.read_text("utf-8") if open_to_others(note) is None else ""
    except (OSError, UnicodeDecodeError):
        known_checksum = ""
    if len(known_checksum) == 64:
        used_now(note)
        return known_checksum
    checksum = _sha256(path, without)
    try:
        write_text(note, checksum)
        note.chmod(0o600)
    except (OSError, UserError):  # a cache that cannot be written costs the time of reading, nothing else
        return checksum
    for old in _unused(note.parent, REMEMBERED):
        old.unlink(missing_ok=True)
    return checksum


def _sha256(path: Path, without: tuple[int, int] | None) -> str:
    first, last = without or (0, 0)
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while first > stream.tell() and (block := stream.read(min(BLOCK, first - stream.tell()))):
            digest.update(block)
        stream.seek(last)
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _unused(folder: Path, most: int) -> list[Path]:
    """All but the `most` entries that were used last."""
    return sorted((each for each in folder.iterdir() if not each.name.startswith(".")), key=_used, reverse=True)[most:]


def _processor() -> str:
    """Model and instruction sets: a layout chosen for one processor is slow or wrong on another."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    fields = {line.split(":")[0].strip(): line for line in reversed(lines)}
    return " ".join(fields.get(name, "") for name in ("model name", "flags", "Features"))


def _used(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:  # another process has removed it
        return 0.0
