"""Who made an artifact: versions of what was used, source commit, machine, time."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from sdseg import __version__

__all__ = ["provenance", "version_of"]


def provenance(packages: tuple[str, ...] = ()) -> dict[str, Any]:
    """Versions of sdseg, Python, NumPy and `packages` ("absent" where one is), source commit, machine, time (UTC)."""
    return {
        "sdseg": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {package: version_of(package) or "absent" for package in ("numpy", *packages)},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def version_of(package: str) -> str | None:
    """The version of an installed package, None where it is not installed; nothing is imported."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    """The commit of the source this package runs from, '+' when edited, 'unknown' outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return "unknown"
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, encoding="utf-8", timeout=10, check=True
    )
    return done.stdout.strip()
