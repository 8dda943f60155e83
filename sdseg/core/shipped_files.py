"""Files that ship with sdseg, found from any working directory: in the checkout, or within the installed package."""

from __future__ import annotations

from pathlib import Path

__all__ = ["SHIPPED", "shipped", "shipped_recipe"]

PACKAGE = Path(__file__).resolve().parent.parent
INSTALLED = PACKAGE / "shipped"  # where a wheel has them (setup.py)
SHIPPED = INSTALLED if INSTALLED.is_dir() else PACKAGE.parent  # the folder that holds config/, resources/ and workflow/
FOLDERS = ("config", "resources/datasets.yaml", "resources/weights.yaml", "resources/splits", "resources/paper")


def shipped(path: str | Path) -> Path:
    """The path as given where it is there, seen from the working directory; else what ships under that name.

    So a file of the user's goes before the one of the same name that ships. A path that is neither stays as it is.
    """
    path = Path(path)
    if path.is_absolute() or path.exists():
        return path
    own = SHIPPED / path
    ships = any(path == Path(folder) or Path(folder) in path.parents for folder in FOLDERS)
    return own if ships and ".." not in path.parts and own.exists() else path


def shipped_recipe(name: str | Path) -> Path:
    """The file of a recipe: as `shipped` finds it, or by its bare name, `sdseg` for config/recipes/sdseg.yaml."""
    path = Path(name)
    by_name = Path("config/recipes") / path.with_suffix(".yaml")
    return shipped(by_name if len(path.parts) == 1 and path.suffix in ("", ".yaml") and not path.exists() else path)
