"""A user's own files: found in what was named, told apart by kind, each with a name for its results."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from sdseg.core.errors import UserError
from sdseg.inference.group_channels import Channels, grouped_by_name, grouped_by_user
from sdseg.io.content import missing
from sdseg.io.dicom_header import is_dicom
from sdseg.io.dicom_series import DICOM_NAMES, find_series
from sdseg.io.images import IMAGE_SUFFIXES, is_image
from sdseg.io.itk import ITK_SUFFIXES, is_itk
from sdseg.io.volumes import VOLUME_SUFFIXES, is_volume

__all__ = [
    "REPORT",
    "EarlierResults",
    "InputFile",
    "InputListing",
    "Kind",
    "Naming",
    "find_inputs",
    "printable",
    "result_names",
]

REPORT = "predict.json"  # marks a folder of results, which are nobody's input
KNOWN = f"{', '.join((*IMAGE_SUFFIXES, *VOLUME_SUFFIXES, *ITK_SUFFIXES))}, DICOM"
BESIDE = (".raw", ".zraw", ".raw.gz", "dicomdir")  # the data of a header (.mhd, .nhdr); an index
CHANNEL = re.compile(r"_\d{4}$")  # which nnU-Net's names of images end with, and not those of masks
Kind = Literal["image", "volume", "series"]
Naming = Literal["sdseg", "nnunet"]  # of results: `<name>_mask` with numbers where names meet, or `<case>` alone


@dataclass(frozen=True)
class InputFile:
    """One image, volume or DICOM series to segment."""

    path: Path  # as the user named it, or below the folder the user named; of a series: its folder
    name: str  # of its results: path below the output folder without suffix, unique among all inputs
    kind: Kind
    files: tuple[Path, ...] = ()  # of a series: its slices
    uid: str = ""  # of a series
    notes: tuple[str, ...] = ()
    naming: Naming = "sdseg"  # of its results
    key: str = ""  # tells it from every other from run to run: where it lies, seen from the output folder, and the UID
    channels: tuple[InputFile, ...] = ()  # of a model of several: the file of each, this one's first; none: one file
    refused: bool = False  # a problem was told already: it stands for its channel, so that none is called missing

    @property
    def parts(self) -> tuple[InputFile, ...]:
        """The file of each channel, or the one there is."""
        return self.channels or (self,)


@dataclass(frozen=True)
class EarlierResults:
    """What earlier runs left in the output folder."""

    names: Mapping[str, str] = field(default_factory=dict)  # of results, by the key of their input
    results: frozenset[Path] = frozenset()  # the files they wrote, resolved


@dataclass
class InputListing:
    """What was named, sorted out."""

    inputs: tuple[InputFile, ...] = ()
    problems: list[UserError] = field(default_factory=list)  # names that lead to nothing, files that cannot be read
    skipped: list[tuple[Path, str]] = field(default_factory=list)  # left out on purpose, with the reason


def find_inputs(
    paths: Sequence[Path],
    output: Path,
    earlier: EarlierResults | None = None,
    model: str = "this model",
    naming: Naming = "sdseg",
    modality: str = "ct",
    channels: Channels | None = None,
) -> InputListing:
    """What to segment, in the order it was named.

    A name may be a file, a pattern (`scans/**/*.png`) or a folder, which stands for every image, volume and DICOM
    series below it, sorted; its results keep its subfolders. What lies in `output` below such a folder, in a folder
    with a predict.json, or was written by a `former` run is left out. An input that was named twice counts once. Where
    two results would get one name, the later one gets a number: x.png and x.jpg become x and x-2; those of former
    runs keep theirs. Names of nnU-Net are never numbered: where they meet, the results are refused (`ResultFiles`).
    `model` says in messages what the inputs are for, `modality` which DICOM series are among them. With names of
    `channels` an input is a case of several files (group_channels.py).
    """
    channels = channels or Channels()
    channels.check()
    if any(path.is_dir() and path.resolve() == output.resolve() for path in paths):
        raise UserError(
            "the output folder is also an input folder: the next run would take masks for images",
            where=output,
            remedy="name another output folder, for example one inside it",
        )
    earlier = earlier or EarlierResults()
    listing = InputListing()
    candidates = _candidates(paths, output, listing, model, modality)
    unique = _unique(candidates, earlier, output, listing)
    if channels.given:
        by_channel = {
            name: _unique(_candidates(own, output, listing, model, modality), earlier, output, listing)
            for name, own in channels.given.items()
        }
        unique += grouped_by_user(by_channel, channels, listing.problems)
    elif channels.names:
        unique = grouped_by_name(unique, channels, listing.problems)
    keyed = [replace(one, key=_key(one, output)) for one in unique if not one.refused]
    if naming == "nnunet":
        names = {one.key: one.name if one.channels else CHANNEL.sub("", one.name) or one.name for one in keyed}
    else:
        names = result_names([(one.key, one.name) for one in keyed], earlier.names)
    listing.inputs = tuple(replace(one, name=names[one.key], naming=naming) for one in keyed)
    return listing


def _candidates(
    paths: Sequence[Path], output: Path, listing: InputListing, model: str, modality: str
) -> list[InputFile]:
    """Every file and series in what was named; what is none of these is noted in `listing`."""
    candidates = list[InputFile]()
    loose: dict[Path, list[Path]] = defaultdict(list)  # DICOM files named one by one, by folder
    for path in _expanded(paths, listing):
        if path.is_dir():
            candidates += _in_folder(path, output, listing, model, modality)
        elif not os.path.lexists(path):  # a link that leads nowhere is told when it is read
            listing.problems.append(missing(path))
            candidates.append(_refused(path))
        elif kind := _kind(path):
            candidates.append(InputFile(path, _stem(path.name), kind))
        elif is_dicom(path):
            loose[path.parent].append(path)
        else:
            listing.problems.append(
                UserError("no image or volume by its name", where=path, remedy=f"known suffixes: {KNOWN}")
            )
            candidates.append(_refused(path))
    for folder, files in loose.items():
        candidates += _series(sorted(set(files)), folder.resolve().name, listing, model, modality)
    return candidates


def _unique(
    candidates: Iterable[InputFile], earlier: EarlierResults, output: Path, listing: InputListing
) -> list[InputFile]:
    """Each input once, without results of earlier runs and names that cannot be written."""
    unique: dict[tuple[Path, str], InputFile] = {}
    for one in candidates:
        unique.setdefault((_real(one.path), one.uid), one)
    if results := [unique.pop(place) for place in list(unique) if place[0] in earlier.results]:
        listing.skipped.append((output, f"{len(results)} of its results, named as inputs"))
    listing.problems += [
        UserError("a name that is not UTF-8: reports could not hold it", where=printable(one.path), remedy="rename it")
        for one in unique.values()
        if printable(one.path) != str(one.path) and not one.refused
    ]
    return [one for one in unique.values() if printable(one.path) == str(one.path)]


def _refused(path: Path) -> InputFile:
    """In the place of what was named and is no input."""
    stem = _stem(path.name) if _kind(path) else path.name.split(".")[0] or path.name
    return InputFile(path, stem, _kind(path) or "series", refused=True)


def printable(path: Path) -> str:
    """A path as text that can be written; bytes that are not UTF-8 as \\x.."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _key(one: InputFile, output: Path) -> str:
    """Seen from the output: the same wherever a run is started, and by whatever links its folders are reached."""
    place = Path(os.path.relpath(one.path.parent.resolve() / one.path.name, output.resolve())).as_posix()
    return f"{place} {one.uid}" if one.uid else place


def _real(path: Path) -> Path:
    """A path without links; one that leads in a circle, over which `Path.resolve` stumbles, as it is."""
    return Path(os.path.realpath(path))


def _expanded(paths: Sequence[Path], listing: InputListing) -> Iterator[Path]:
    """Patterns replaced by what they match: for shells that do not, and for quoted ones."""
    for path in paths:
        if os.path.lexists(path) or not glob.has_magic(str(path)):
            yield path
            continue
        matches = sorted(glob.glob(str(path), recursive=True))
        if not matches:
            listing.problems.append(
                UserError("the pattern matches nothing", where=path, remedy="check it; '**' stands for any folders")
            )
        yield from map(Path, matches)


def _in_folder(root: Path, output: Path, listing: InputListing, model: str, modality: str) -> list[InputFile]:
    """Everything below a folder, sorted, each with its path below it."""
    own, inputs, others = output.resolve(), list[InputFile](), Counter[str]()
    before = len(listing.problems), len(listing.skipped)

    def unreadable(error: OSError) -> None:
        place = Path(error.filename or root)
        listing.problems.append(
            UserError(f"cannot be read: {error.strerror}", where=place, remedy="check the folder's permissions")
        )

    for place, folders, files in os.walk(root, onerror=unreadable):
        folder = Path(place)
        folders[:] = sorted(name for name in folders if (folder / name).resolve() != own)
        links = [name for name in folders if (folder / name).is_symlink()]  # not walked into: they may lead in circles
        listing.skipped += [(folder / name, "a link to a folder: name it to have what lies there") for name in links]
        if folder != root and REPORT in files:
            listing.skipped.append((folder, f"results of an earlier run ({REPORT})"))
            folders.clear()
            continue
        slices, relative = list[Path](), folder.relative_to(root)
        for name in sorted(files):
            path = folder / name
            # Copies from a Mac bring a '._x.png' for every x.png. A link that leads nowhere or in a circle, a pipe, a
            # device are inputs that fail: what has an image's name is not passed over.
            if name.startswith("."):
                continue
            if kind := _kind(path):
                inputs.append(InputFile(path, (relative / _stem(name)).as_posix(), kind))
            elif is_dicom(path):
                slices.append(path)
            elif not name.lower().endswith(BESIDE):
                others[path.suffix.lower() or "without suffix"] += 1
        if slices:
            below = root.resolve().name if folder == root else relative.as_posix()
            inputs += _series(slices, below or "series", listing, model, modality)
    if not inputs and before == (len(listing.problems), len(listing.skipped)):
        listing.problems.append(
            UserError("a folder without images or volumes", where=root, remedy=f"known suffixes: {KNOWN}")
        )
    elif others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common())
        listing.skipped.append((root, f"files that are no images or volumes by their names: {kinds}"))
    return sorted(inputs, key=lambda one: one.path)


def _series(files: Sequence[Path], below: str, listing: InputListing, model: str, modality: str) -> list[InputFile]:
    """The series among the DICOM files of one folder, named like the folder; several by their number as well."""
    kind = "ct" if modality == "rgb" else modality  # a model of images refuses every series when it is opened
    name, units = DICOM_NAMES[kind], ", whose values are Hounsfield units" if kind == "ct" else ""
    series_listing = find_series(files, kind, f"{model}; of DICOM, {name} series alone are read{units}")
    listing.problems += series_listing.problems
    listing.skipped += series_listing.skipped
    several = len(series_listing.series) > 1
    refused = [InputFile(files[0].parent, below, "series", refused=True)] if series_listing.problems else []
    return refused + [
        InputFile(
            one.folder,
            f"{below}_series{one.number or place}" if several else below,
            "series",
            one.files,
            one.uid,
            one.notes,
        )
        for place, one in enumerate(series_listing.series, start=1)
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


def result_names(requested: Sequence[tuple[str, str]], taken: Mapping[str, str]) -> dict[str, str]:
    """The final name of each input, by key, from pairs of key and wanted name.

    Keys in `taken`, those of earlier runs, keep their names. The others get the wanted one, numbered where names meet:
    x, x-2. Upper and lower case are one name, as on many disks.
    """
    fresh = [(key, name) for key, name in requested if key not in taken]
    reserved = {name.lower() for _, name in fresh}
    used = {name.lower() for name in taken.values()}
    names, numbers = dict(taken), dict[str, int]()
    for key, name in fresh:
        unique, number = name, numbers.get(name.lower(), 1)
        while unique.lower() in used or (number > 1 and unique.lower() in reserved):
            number += 1
            unique = f"{name}-{number}"
        numbers[name.lower()] = number
        used.add(unique.lower())
        names[key] = unique
    return {key: names[key] for key, _ in requested}
