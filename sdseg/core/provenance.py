"""Who made an artifact: versions of what was used, source commit, machine, time."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from sdseg import __version__
from sdseg.core.fingerprint import fingerprint

__all__ = ["provenance", "source_of", "version_of"]


def provenance(packages: tuple[str, ...] = (), *, stage: str | None = None) -> dict[str, Any]:
    """Versions of sdseg, Python, NumPy and `packages` ("absent" where one is), source, machine, time (UTC).

    With `stage`, the module that runs, also the fingerprint of the code it runs. `prefix` is the folder of the Python
    environment, with ~ for the user's home.
    """
    return {
        "sdseg": __version__,
        **source_of(stage),
        "python": platform.python_version(),
        "prefix": _prefix(),
        "packages": {package: version_of(package) or "absent" for package in ("numpy", *packages)},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def source_of(stage: str | None = None) -> dict[str, str]:
    """Commit and, of a stage, fingerprint of the source, as they were at the first call.

    A stage that runs for long asks at its start: an edit made meanwhile is not what it ran.
    """
    return {"commit": _commit()} | ({"code": fingerprint(stage)} if stage is not None else {})


@cache
def version_of(package: str) -> str | None:
    """The version of an installed package, None where it is not installed; nothing is imported."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _prefix() -> str:
    prefix, home = Path(sys.prefix), Path.home()
    return f"~/{prefix.relative_to(home).as_posix()}" if prefix.is_relative_to(home) else str(prefix)


@cache
def _commit() -> str:
    """The commit of the source this package runs from, '+' when edited, 'unknown' outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "unknown"
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(root: Path, *words: str) -> str:
    completed = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, encoding="utf-8", timeout=10, check=True
    )
    return completed.stdout.strip()
