"""Files that ship with the repository, found from any working directory."""

from __future__ import annotations

from pathlib import Path

__all__ = ["shipped"]

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("config", "resources/datasets.yaml", "resources/weights.yaml", "resources/splits", "resources/paper")


def shipped(path: str | Path) -> Path:
    """The path as given where it is there, seen from the working directory; else what ships under that name.

    So a file of the user's goes before the one of the same name in the checkout. A path that is neither stays as it is.
    """
    path = Path(path)
    if path.is_absolute() or path.exists():
        return path
    own = ROOT / path
    ships = any(path == Path(folder) or Path(folder) in path.parents for folder in FOLDERS)
    return own if ships and ".." not in path.parts and own.exists() else path
