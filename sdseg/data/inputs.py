"""A user's own files: found in what was named, told apart by kind, each with a name for its results."""

from __future__ import annotations

import glob
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sdseg.data.images import IMAGE_SUFFIXES, is_image
from sdseg.data.itk_files import ITK_SUFFIXES, is_itk
from sdseg.data.series import find_series, is_dicom
from sdseg.data.volumes import VOLUME_SUFFIXES, is_volume
from sdseg.errors import UserError

__all__ = ["REPORT", "Found", "InputFile", "Kind", "find_inputs"]

REPORT = "predict.json"  # marks a folder of results, which are nobody's input
KNOWN = f"{', '.join((*IMAGE_SUFFIXES, *VOLUME_SUFFIXES, *ITK_SUFFIXES))}, DICOM"
Kind = Literal["image", "volume", "series"]


@dataclass(frozen=True)
class InputFile:
    """One image, volume or DICOM series to segment."""

    path: Path  # as the user named it, or below the folder the user named; of a series: its folder
    name: str  # of its results: path below the output folder without suffix, unique among all inputs
    kind: Kind
    files: tuple[Path, ...] = ()  # of a series: its slices
    uid: str = ""  # of a series
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What tells this input from every other, in reports."""
        return f"{self.path} {self.uid}" if self.uid else str(self.path)


@dataclass
class Found:
    """What was named, sorted out."""

    inputs: tuple[InputFile, ...] = ()
    problems: list[UserError] = field(default_factory=list)  # names that lead to nothing, files that cannot be read
    skipped: list[tuple[Path, str]] = field(default_factory=list)  # left out on purpose, with the reason


@dataclass(frozen=True)
class _Named:
    """An input without its final name."""

    path: Path
    below: str  # wanted name
    kind: Kind
    files: tuple[Path, ...] = ()
    uid: str = ""
    notes: tuple[str, ...] = ()


def find_inputs(named: Sequence[Path], output: Path, taken: Mapping[str, str] | None = None) -> Found:
    """What to segment, in the order it was named.

    A name may be a file, a pattern (`scans/**/*.png`) or a folder, which stands for every image, volume and DICOM
    series below it, sorted; its results keep its subfolders. What lies in `output`, or in a folder with a
    predict.json, is left out. An input that was named twice counts once. Where two results would get one name, the
    later one gets a number: x.png and x.jpg become x and x-2. `taken` maps keys of inputs of earlier runs to their
    names, which stay theirs.
    """
    if any(path.is_dir() and path.resolve() == output.resolve() for path in named):
        raise UserError(
            "the output folder is also an input folder: the next run would take masks for images",
            where=output,
            remedy="name another output folder, for example one inside it",
        )
    found, candidates = Found(), list[_Named]()
    loose: dict[Path, list[Path]] = defaultdict(list)  # DICOM files named one by one, by folder
    for path in _expanded(named, found):
        if path.is_dir():
            candidates += _in_folder(path, output, found)
        elif not path.exists():
            found.problems.append(
                UserError("the file is missing", where=path, remedy="check the path and its spelling")
            )
        elif kind := _kind(path):
            candidates.append(_Named(path, _stem(path.name), kind))
        elif is_dicom(path):
            loose[path.parent].append(path)
        else:
            found.problems.append(
                UserError(
                    f"'{path.name}' is no image or volume by its name", where=path, remedy=f"known suffixes: {KNOWN}"
                )
            )
    for folder, files in loose.items():
        candidates += _series(sorted(set(files)), folder.resolve().name, found)
    unique: dict[tuple[Path, str], _Named] = {}
    for one in candidates:
        unique.setdefault((one.path.resolve(), one.uid), one)
    found.inputs = _with_names(list(unique.values()), taken or {})
    return found


def _expanded(named: Sequence[Path], found: Found) -> Iterator[Path]:
    """Patterns replaced by what they match: for shells that do not, and for quoted ones."""
    for path in named:
        if path.exists() or not glob.has_magic(str(path)):
            yield path
            continue
        matches = sorted(glob.glob(str(path), recursive=True))
        if not matches:
            found.problems.append(
                UserError("the pattern matches nothing", where=path, remedy="check it; '**' stands for any folders")
            )
        yield from map(Path, matches)


def _in_folder(root: Path, output: Path, found: Found) -> list[_Named]:
    """Everything below a folder, sorted, each with its path below it."""
    own, listed = output.resolve(), list[_Named]()
    before = len(found.problems), len(found.skipped)

    def unreadable(error: OSError) -> None:
        place = Path(error.filename or root)
        found.problems.append(
            UserError(f"cannot be read: {error.strerror}", where=place, remedy="check the folder's permissions")
        )

    for place, folders, files in os.walk(root, onerror=unreadable):
        folder = Path(place)
        folders[:] = sorted(name for name in folders if (folder / name).resolve() != own)
        if folder != root and REPORT in files:
            found.skipped.append((folder, f"results of an earlier run ({REPORT})"))
            folders.clear()
            continue
        slices, relative = [], folder.relative_to(root)
        for name in sorted(files):
            path = folder / name
            if name.startswith(".") or not path.is_file():  # copies from a Mac bring a '._x.png' for every x.png
                continue
            if kind := _kind(path):
                listed.append(_Named(path, (relative / _stem(name)).as_posix(), kind))
            elif is_dicom(path):
                slices.append(path)
        if slices:
            below = root.resolve().name if folder == root else relative.as_posix()
            listed += _series(slices, below or "series", found)
    if not listed and before == (len(found.problems), len(found.skipped)):
        found.problems.append(
            UserError("a folder without images or volumes", where=root, remedy=f"known suffixes: {KNOWN}")
        )
    return sorted(listed, key=lambda one: one.path)


def _series(files: Sequence[Path], below: str, found: Found) -> list[_Named]:
    """The series among the DICOM files of one folder, named like the folder; several by their number as well."""
    seen = find_series(files)
    found.problems += seen.problems
    found.skipped += seen.skipped
    several = len(seen.series) > 1
    return [
        _Named(
            one.folder,
            f"{below}_series{one.number or place}" if several else below,
            "series",
            one.files,
            one.uid,
            one.notes,
        )
        for place, one in enumerate(seen.series, start=1)
    ]


def _kind(path: Path) -> Kind | None:
    if is_image(path):
        return "image"
    return "volume" if is_volume(path) or is_itk(path) else None


def _stem(name: str) -> str:
    """The name without the suffix, which may be a double one (.nii.gz)."""
    for suffix in (".nii.gz", *VOLUME_SUFFIXES, *IMAGE_SUFFIXES, *ITK_SUFFIXES):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)] or "unnamed"
    raise ValueError(f"{name} has no known suffix")


def _with_names(candidates: Sequence[_Named], taken: Mapping[str, str]) -> tuple[InputFile, ...]:
    """Names of earlier runs stay; the others are numbered where they would meet."""
    drafts = [InputFile(one.path, one.below, one.kind, one.files, one.uid, one.notes) for one in candidates]
    fresh = [draft for draft in drafts if draft.key not in taken]
    names = dict(zip((one.key for one in fresh), _unique([one.name for one in fresh], taken.values()), strict=True))
    return tuple(
        InputFile(one.path, taken.get(one.key) or names[one.key], one.kind, one.files, one.uid, one.notes)
        for one in drafts
    )


def _unique(names: Sequence[str], others: Iterable[str] = ()) -> list[str]:
    """The names in order, later ones numbered; upper and lower case are one name, as on many disks."""
    reserved = {name.lower() for name in names}
    taken = {name.lower() for name in others}
    unique, numbers = [], dict[str, int]()
    for name in names:
        chosen, number = name, numbers.get(name.lower(), 1)
        while chosen.lower() in taken or (number > 1 and chosen.lower() in reserved):
            number += 1
            chosen = f"{name}-{number}"
        numbers[name.lower()] = number
        taken.add(chosen.lower())
        unique.append(chosen)
    return unique
