"""What a runtime has made of a graph for this machine, kept so that the next start need not make it again."""

from __future__ import annotations

import os
import platform
import shutil
import time
from functools import lru_cache
from pathlib import Path

from sdseg.artifacts import sha256_file, sha256_text, write_text
from sdseg.errors import UserError

__all__ = ["cache_entry", "cache_folder", "checksum_of", "graph_bytes", "prune", "used_now", "worth_keeping"]

CACHED_FROM = 20_000_000  # bytes of a graph with its weights: below, a session opens in less than the cache saves
KEPT = 4  # entries of a runtime on disk, each as large as its model; the one not used for longest goes first
REMEMBERED = 64  # checksums of large files
ABANDONED = 86_400.0  # seconds: no process writes an entry for a day
SETTLED = 2.0  # seconds since a file's last change, from which on its times tell every further one


def cache_folder() -> Path:
    """Where sdseg keeps what can be made again: SDSEG_CACHE, or ~/.cache/sdseg (XDG_CACHE_HOME is heeded)."""
    own = os.environ.get("SDSEG_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sdseg"


def cache_entry(runtime: str, path: Path, *settings: str) -> Path:
    """The folder for what `runtime` made of a graph: named by the graph with its weights, `settings`, the processor."""
    weights = _weights(path)
    parts = [checksum_of(path), checksum_of(weights) if weights.is_file() else "", *settings, _processor()]
    return cache_folder() / runtime / sha256_text("\n".join(parts))[:32]


def checksum_of(path: Path) -> str:
    """SHA-256 of a file. That of a large one is kept in the cache, and told again while the file stays what it was.

    It does where device, inode, size, time of change and time of change of the inode are the same (as git has it):
    reading 1.4 GB takes longer than opening the graph.
    """
    told = path.stat()
    seen = (told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns, told.st_ctime_ns)
    settled = time.time() - max(told.st_mtime, told.st_ctime) > SETTLED
    return _checksum(path.resolve(), seen, told.st_size >= CACHED_FROM and settled)


def worth_keeping(path: Path) -> bool:
    """Whether a graph is so large that making it again takes noticeably long."""
    return graph_bytes(path) >= CACHED_FROM


def graph_bytes(path: Path) -> int:
    """Bytes of a graph and of its weights, where they lie in a file of their own."""
    return sum(file.stat().st_size for file in (path, _weights(path)) if file.is_file())


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


@lru_cache(maxsize=16)
def _checksum(path: Path, seen: tuple[int, ...], remember: bool) -> str:
    if not remember:
        return sha256_file(path)
    note = cache_folder() / "checksums" / sha256_text(f"{path} {seen}")[:32]
    try:
        told = note.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        told = ""
    if len(told) == 64:
        used_now(note)
        return told
    found = sha256_file(path)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_text(note, found)
    except (OSError, UserError):  # a cache that cannot be written costs the time of reading, nothing else
        return found
    for old in _unused(note.parent, REMEMBERED):
        old.unlink(missing_ok=True)
    return found


def _unused(folder: Path, kept: int) -> list[Path]:
    """All but the `kept` entries that were used last."""
    return sorted((each for each in folder.iterdir() if not each.name.startswith(".")), key=_used, reverse=True)[kept:]


def _weights(path: Path) -> Path:
    return path.with_name(f"{path.name}.data")


def _processor() -> str:
    """Model and instruction sets: a layout chosen for one processor is slow or wrong on another."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = {line.split(":")[0].strip(): line for line in reversed(lines)}
    return " ".join(told.get(name, "") for name in ("model name", "flags", "Features"))


def _used(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:  # another process has removed it
        return 0.0
