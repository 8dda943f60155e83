"""A user's own files: found in what was named, told apart by kind, each with a name for its results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sdseg.data.volumes import IMAGE_SUFFIXES, VOLUME_SUFFIXES, is_image, is_volume
from sdseg.errors import UserError

__all__ = ["InputFile", "find_inputs"]

KNOWN = ", ".join((*IMAGE_SUFFIXES, *VOLUME_SUFFIXES))


@dataclass(frozen=True)
class InputFile:
    """One image or volume to segment."""

    path: Path  # as the user named it, or below the folder the user named
    name: str  # of its results: path below the output folder without suffix, unique among all inputs
    volume: bool


def find_inputs(named: Sequence[Path], output: Path) -> tuple[tuple[InputFile, ...], tuple[UserError, ...]]:
    """Files to segment in the order they were named, and one error for each name that leads to none.

    A folder stands for every image and volume below it, sorted, except what lies in `output`; its results keep its
    subfolders. A file that was named twice counts once. Where two results would get one name, the later one gets a
    number: x.png and x.jpg become x and x-2.
    """
    if any(path.is_dir() and path.resolve() == output.resolve() for path in named):
        raise UserError(
            "the output folder is also an input folder: the next run would take masks for images",
            where=output,
            remedy="name another output folder, for example one inside it",
        )
    found: dict[Path, tuple[Path, Path]] = {}  # resolved path -> (path, name below the output folder)
    problems = []
    for path in named:
        try:
            listed = _listed(path, output)
        except UserError as error:
            problems.append(error)
            continue
        for file, below in listed:
            found.setdefault(file.resolve(), (file, below))
    files = [file for file, _ in found.values()]
    names = _unique(_stem(below) for _, below in found.values())
    inputs = tuple(InputFile(file, name, is_volume(file)) for file, name in zip(files, names, strict=True))
    return inputs, tuple(problems)


def _listed(path: Path, output: Path) -> list[tuple[Path, Path]]:
    """The files that a name stands for, each with its path below the output folder."""
    if path.is_dir():
        own = output.resolve()
        files = sorted(
            file
            for file in path.rglob("*")
            if (is_image(file) or is_volume(file))
            and not file.name.startswith(".")  # copies from a Mac bring a '._x.png' for every x.png
            and file.is_file()
            and own not in file.resolve().parents
        )
        if not files:
            raise UserError("a folder without images or volumes", where=path, remedy=f"known suffixes: {KNOWN}")
        return [(file, file.relative_to(path)) for file in files]
    if not path.exists():
        raise UserError("the file is missing", where=path, remedy="check the path and its spelling")
    if not (is_image(path) or is_volume(path)):
        raise UserError(
            f"'{path.name}' is no image or volume by its name", where=path, remedy=f"known suffixes: {KNOWN}"
        )
    return [(path, Path(path.name))]


def _stem(below: Path) -> str:
    """The path without the suffix, which may be a double one (.nii.gz)."""
    for suffix in (".nii.gz", *VOLUME_SUFFIXES, *IMAGE_SUFFIXES):
        if below.name.lower().endswith(suffix):
            return below.with_name(below.name[: -len(suffix)] or "unnamed").as_posix()
    raise ValueError(f"{below} has no known suffix")


def _unique(names: Iterable[str]) -> list[str]:
    """The names in order, later ones numbered; upper and lower case are one name, as on many disks."""
    wanted = list(names)
    reserved = {name.lower() for name in wanted}
    taken: set[str] = set()
    unique = []
    for name in wanted:
        chosen, number = name, 1
        while chosen.lower() in taken or (number > 1 and chosen.lower() in reserved):
            number += 1
            chosen = f"{name}-{number}"
        taken.add(chosen.lower())
        unique.append(chosen)
    return unique
