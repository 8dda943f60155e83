"""What lies in the folders below another: images, volumes, DICOM series, by their names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sdseg.core.errors import UserError
from sdseg.io.dicom_header import is_dicom
from sdseg.io.images import IMAGE_SUFFIXES
from sdseg.io.volumes import VOLUME_SUFFIXES

__all__ = ["FolderContent", "Kind", "folders_below", "listed", "stems"]

Kind = Literal["images", "volumes"]
DEEPEST = 5  # levels of folders that are looked through


@dataclass(frozen=True)
class FolderContent:
    kind: Kind
    names: tuple[str, ...]  # without suffix
    series: bool = False  # they are folders with a DICOM series each


def folders_below(raw: Path) -> dict[str, FolderContent]:
    """Every folder below `raw` that holds images, volumes or folders of DICOM series, by its path from there."""
    holding: dict[str, FolderContent] = {}
    series: dict[str, list[str]] = {}
    for place, directories, files in os.walk(raw):
        here = Path(place)
        depth = len(here.relative_to(raw).parts)
        directories[:] = sorted(name for name in directories if not name.startswith(".") and depth < DEEPEST)
        names = sorted(name for name in files if not name.startswith("."))
        pictures, volumes = stems(names, IMAGE_SUFFIXES), stems(names, VOLUME_SUFFIXES)
        relative = here.relative_to(raw).as_posix()
        if pictures and volumes:
            raise UserError(
                f"images ({pictures[0]}) and volumes ({volumes[0]}) lie in one folder, and a dataset has one kind",
                where=here,
                remedy="give each kind a folder of its own",
            )
        if pictures or volumes:
            holding[relative] = FolderContent("images" if pictures else "volumes", tuple(pictures or volumes))
        elif names and any(is_dicom(here / name) for name in names[:3]):
            series.setdefault(here.parent.relative_to(raw).as_posix() if depth else ".", []).append(here.name)
    for folder, cases in series.items():
        holding.setdefault(folder, FolderContent("volumes", tuple(sorted(cases)), series=True))
    return holding


def stems(names: Sequence[str], suffixes: tuple[str, ...]) -> list[str]:
    longest = sorted(suffixes, key=len, reverse=True)
    return [
        name[: -len(suffix)]
        for name in names
        for suffix in [next((each for each in longest if name.lower().endswith(each)), "")]
        if suffix
    ]


def listed(folders: Mapping[str, FolderContent], most: int = 6) -> str:
    shown = [f"'{name}': {each.names[0]}, …" for name, each in list(folders.items())[:most]]
    return "; ".join(shown) + (f" and {len(folders) - most} more" if len(folders) > most else "")
