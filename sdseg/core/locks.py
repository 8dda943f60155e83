"""One writer at a time: a lock beside each output, held until the stage ends or its process dies.

The lock is the kernel's (`flock`) and cannot go stale; the file it is on only says who holds it, and goes with it.
"""

from __future__ import annotations

import fcntl
import inspect
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from sdseg.core.errors import UserError
from sdseg.core.files import make_folder, not_writable
from sdseg.core.leftovers import remove_leftovers

__all__ = ["WHEN_BUSY", "holder_of", "lock_file", "locked", "writes"]

log = logging.getLogger(__name__)
WHEN_BUSY = "SDSEG_WHEN_BUSY"  # environment variable; 'wait' is what the workflow sets for its jobs

P = ParamSpec("P")
R = TypeVar("R")


def writes(*names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a stage: the paths of its arguments `names` are locked while it runs; those that are None are not."""

    def decorate(stage: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(stage)

        @wraps(stage)
        def alone(*args: P.args, **kwargs: P.kwargs) -> R:
            arguments = signature.bind(*args, **kwargs).arguments
            with locked(*(arguments[name] for name in names if arguments.get(name) is not None)):
                return stage(*args, **kwargs)

        return alone

    return decorate


@contextmanager
def locked(*outputs: Path, inside: bool = False, wait: bool | None = None) -> Iterator[None]:
    """Hold the locks of files or folders that are about to be written, and clear away what a killed writer left.

    Parameters
    ----------
    outputs: the files and folders; each has its lock beside it, which is there for others on a shared disk too.
    inside: the outputs are folders that stay as they are, and the lock lies in them.
    wait: for the process that holds one of them; else that is an error. None: as `SDSEG_WHEN_BUSY` says.

    Raises UserError that names the process holding one, and where a place cannot be written. Of several processes that
    share one training only the first takes locks: it alone writes.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    waits = os.environ.get(WHEN_BUSY) == "wait" if wait is None else wait
    with ExitStack() as stack:
        # In one order for all, so that no two wait for each other.
        for output in sorted({_place(each, inside) for each in outputs}):
            stack.enter_context(_one(output, lock_file(output, inside=inside), waits))
            if not inside:
                remove_leftovers(output)
        yield


def lock_file(output: Path, *, inside: bool = False) -> Path:
    """Where the lock of an output lies."""
    return output / ".sdseg.lock" if inside else output.with_name(f".{output.name}.lock")


def holder_of(file: Path) -> str | None:
    """Who holds a lock file, in words; None where nobody does."""
    try:
        handle = os.open(file, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _described(handle)
    except OSError:
        return None
    finally:
        os.close(handle)
    return None


def _place(output: Path, inside: bool) -> Path:
    """The same for every way to write it. A link to a folder is followed, one to a file is replaced itself."""
    followed = inside or output.name in ("", "..") or output.is_dir()
    return output.resolve() if followed else output.parent.resolve() / output.name


@contextmanager
def _one(output: Path, file: Path, wait: bool) -> Iterator[None]:
    new = [folder for folder in (file.parent, *file.parent.parents) if not folder.exists()]
    make_folder(file.parent)
    handle = _acquired(output, file, wait)
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)  # while it is held: who waits for it sees that it is gone, and makes another
        os.close(handle)
        for folder in new:  # a stage that was refused leaves no empty folders
            with suppress(OSError):
                folder.rmdir()


def _acquired(output: Path, file: Path, wait: bool) -> int:
    """A handle that holds the lock, of the very file that is at this path now."""
    while True:
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise not_writable(file.parent, error) from None
        try:
            _lock(handle, output, wait)
            if _is_at(handle, file):
                _sign(handle)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int, output: Path, wait: bool) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    except BlockingIOError:
        holder = _described(handle)
    except OSError as error:  # some network disks know no locks
        log.warning("%s cannot be locked (%s): see to it that no other run writes there", output, error.strerror)
        return
    if not wait:
        raise UserError(
            f"another run is writing here: {holder}",
            where=output,
            remedy="wait until it is done, or end it; runs at the same time need an output each",
        )
    log.warning("waiting for another run that is writing here: %s (%s)", holder, output)
    began = time.monotonic()
    fcntl.flock(handle, fcntl.LOCK_EX)
    log.info("it has ended, after %.0f s more: going on", time.monotonic() - began)


def _is_at(handle: int, file: Path) -> bool:
    """False where the lock's last holder has removed the file meanwhile."""
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


def _sign(handle: int) -> None:
    note = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": " ".join([Path(sys.argv[0]).name.replace("__main__.py", "sdseg"), *sys.argv[1:2]]),
    }
    with suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(note).encode(), 0)


def _described(handle: int) -> str:
    try:
        note = json.loads(os.pread(handle, 4096, 0))
        return f"process {note['pid']} on {note['host']}, since {note['since']} ({note['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that has not said who it is"
