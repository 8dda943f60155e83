"""Locks of runs that were killed: Snakemake leaves them, and refuses the next run. Those of a dead run are lifted.

Every run signs in with a file in `.snakemake/sdseg-runs`, on which it holds a lock of the kernel's (`flock`) while it
lives. A file that nobody holds is of a run that has died, and so are Snakemake's locks if no other run is signed in.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import shlex
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from snakemake.logging import logger

from sdseg.core.locks import holder_of

__all__ = ["lift_dead_locks", "working"]

STATE = Path(".snakemake")  # in the working directory, as Snakemake has it
BOOT = Path("/proc/sys/kernel/random/boot_id")


def lift_dead_locks(configfiles: Sequence[str | Path] = ()) -> None:
    """Sign this run in until it ends, and lift Snakemake's locks if those who set them are known to be dead.

    Where that is not known (a run on another machine, or one that did not sign in) they stay, and the command that
    lifts them is said.
    """
    runs = STATE / "sdseg-runs"
    try:
        with _alone(runs):
            living, dead, unknown = _signed_in(runs)
            if _locks() and not living:
                if dead and not unknown:
                    shutil.rmtree(STATE / "locks")
                    (STATE / "locks").mkdir()
                    logger.warning(f"the run before this one was killed ({dead[-1]}): its lock is lifted")
                else:
                    logger.warning(_advice(unknown, configfiles))
            _sign_in(runs)
    except OSError as error:
        logger.warning(f"{runs} cannot be used ({error}): locks of killed runs are not lifted")


def working(results: str | Path) -> Iterator[str]:
    """Each output of a results folder that a process is writing at this moment, with the process in words."""
    for pattern in (".*.lock", "*/.*.lock", "*/*/.*.lock"):
        for file in sorted(Path(results).glob(pattern)):
            holder = holder_of(file)
            if holder is not None:
                yield f"{file.with_name(file.name[1:].removesuffix('.lock'))}: {holder}"


@contextmanager
def _alone(runs: Path) -> Iterator[None]:
    """Of two runs that start at once one looks first, and is seen by the other."""
    runs.mkdir(parents=True, exist_ok=True)
    handle = os.open(runs, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _signed_in(runs: Path) -> tuple[list[str], list[str], list[str]]:
    """Runs that live, that are dead (their files are removed), and of which it is not known, each in words."""
    living, dead, unknown = [], [], []
    for path in sorted(runs.glob("*.json"), key=lambda each: each.stat().st_mtime):
        handle = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            living.append(path.stem)
            continue
        else:
            note = _read(path)
            words = f"process {note.get('pid')} on {note.get('host')}, since {note.get('since')}"
            if note and not _here(note):  # a lock held on another machine may not be seen here
                unknown.append(words)
                continue
            dead.append(words)
            path.unlink()
        finally:
            os.close(handle)
    return living, dead, unknown


def _sign_in(runs: Path) -> None:
    path = runs / f"{socket.gethostname()}-{os.getpid()}.json"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # kept open: the lock is held until this process ends
    fcntl.flock(handle, fcntl.LOCK_EX)
    note = {"pid": os.getpid(), "host": socket.gethostname(), "boot": _boot(), "since": time.strftime("%F %T")}
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(note).encode(), 0)
    atexit.register(_sign_out, path.absolute(), os.getpid())


def _sign_out(path: Path, pid: int) -> None:
    if os.getpid() == pid:  # not in a process forked from this one
        with suppress(OSError):
            path.unlink(missing_ok=True)
            path.parent.rmdir()  # if no other run is signed in


def _locks() -> bool:
    return any((STATE / "locks").glob("*.lock"))


def _here(note: dict[str, object]) -> bool:
    """Whether a run was on this machine; after a restart of it as well."""
    return note.get("host") == socket.gethostname() or (note.get("boot") == _boot() != "")


def _boot() -> str:
    try:
        return BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _read(path: Path) -> dict[str, object]:
    """Empty where the run was killed before it had written it."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _advice(unknown: Sequence[str], configfiles: Sequence[str | Path]) -> str:
    who = f"of {' and of '.join(unknown)}, which cannot be looked at from here" if unknown else "of an unknown run"
    words = ["snakemake", "--unlock", "--cores", "1"]
    words += ["--configfile", *map(str, configfiles)] if configfiles else []
    return f"there are locks {who}. Once you are sure that it has ended, lift them with\n    {shlex.join(words)}"
