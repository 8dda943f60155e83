"""DICOM files told apart into series: what can be segmented, what is left out and why, what cannot be read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdseg.core.errors import ListedError, UserError
from sdseg.io.content import file_size
from sdseg.io.dicom_header import NO_IMAGES, Slice, is_dicom, read_header

__all__ = ["DICOM_NAMES", "MIXED", "Series", "SeriesListing", "find_series", "fits", "one_series", "series_files"]

# What files say of themselves (0008,0060), by the modality of datasets and models.
DICOM_NAMES = {"ct": "CT", "mr": "MR", "pet": "PT", "ultrasound": "US", "other": "any"}
MIXED = "where channels are of several modalities (PET and CT), the dataset is one of 'modality: other'"
PREPARING = "a dataset of 'modality: {modality}' is expected to have {series}"


@dataclass(frozen=True)
class Series:
    """The files of one series, localisers left out."""

    uid: str
    number: str  # as the scanner counts, or empty
    description: str
    files: tuple[Path, ...]
    notes: tuple[str, ...]  # what was left out of it

    @property
    def folder(self) -> Path:
        return self.files[0].parent


@dataclass(frozen=True)
class SeriesListing:
    """What lies in a folder."""

    series: tuple[Series, ...]
    skipped: tuple[tuple[Path, str], ...]  # a file, and why it and those like it are left out
    problems: tuple[UserError, ...]  # files that cannot be read, series of another modality


def series_files(folder: Path) -> tuple[Path, ...]:
    """Every file of the folder, sorted by name; hidden ones are left out."""
    return tuple(sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")))


def one_series(folder: Path, modality: str = "ct") -> Series:
    """The one series of this modality in a folder; what else lies there and is left out is in its notes.

    Raises UserError or ListedError where there are none or several, a file that cannot be read, or another modality.
    """
    for path in sorted(folder.iterdir()):
        if not (path.is_dir() or path.name.startswith(".")):
            file_size(path)  # neither a pipe nor a link that leads nowhere goes unseen
    files = [path for path in series_files(folder) if is_dicom(path)]
    if not files:
        raise UserError("no DICOM files in the folder", where=folder, remedy="give a folder with one series")
    listing = find_series(files, modality)
    if len(listing.problems) == 1:
        raise listing.problems[0]
    if listing.problems:
        lines = (f"{Path(one.where or '').name}: {one.what}" for one in listing.problems)
        what = f"{len(listing.problems)} problems in a DICOM folder:"
        raise ListedError(what, lines, where=folder, remedy="replace these files by whole copies, or take them away")
    if not listing.series:
        raise ListedError(
            "no series of slices in the folder:",
            (reason for _, reason in listing.skipped),
            where=folder,
            remedy="give a folder with one series of slices",
        )
    if len(listing.series) > 1:
        raise ListedError(
            f"{len(listing.series)} series in one folder:",
            (
                f"'{one.description}', {len(one.files)} file(s), e.g. {one.files[0].name}"
                for one in sorted(listing.series, key=lambda each: each.files[0])
            ),
            where=folder,
            remedy="give each series a folder of its own",
        )
    (one,) = listing.series
    left_out = tuple(f"left out: {reason}" for _, reason in listing.skipped)
    return Series(one.uid, one.number, one.description, one.files, one.notes + left_out)


def fits(named: str, modality: str) -> bool:
    """Whether a file whose header names its modality so belongs to a dataset or model of `modality`."""
    return modality == "other" or named == DICOM_NAMES[modality]


def find_series(files: Sequence[Path], modality: str = "ct", expected: str | None = None) -> SeriesListing:
    """Series among the files of one folder, sorted by number and UID.

    Left out and said so: localisers (ImageType), reports, plans and segmentations, which no model reads. A series of
    another modality is a problem, told with what is `expected`, as is a file that cannot be read.
    """
    grouped: dict[str, list[Slice]] = defaultdict(list)
    problems = []
    for path in files:
        try:
            header = read_header(path)
        except UserError as error:
            problems.append(error)
            continue
        grouped[header.series].append(header)
    unread = tuple(f"a file beside it cannot be read and may be one of its slices: {error.where}" for error in problems)
    series, skipped, foreign = [], [], list[UserError]()
    for uid, members in grouped.items():
        first, slices = members[0], [one for one in members if not one.localiser]
        title = f"series '{first.description or first.number or uid}', {len(members)} file(s)"
        other = next((one for one in slices if not fits(one.modality, modality)), None)
        if first.modality in NO_IMAGES:
            skipped.append((first.path, f"{title}: {first.modality}, not images of a patient"))
        elif not slices:
            skipped.append((first.path, f"{title}: a localiser"))
        elif other is not None:
            units = ", whose values are Hounsfield units" if modality == "ct" else ""
            wanted = expected or PREPARING.format(modality=modality, series=f"{DICOM_NAMES[modality]} series{units}")
            what = f"{title}: modality '{other.modality}'; {wanted}"
            foreign.append(UserError(what, where=other.path, remedy=_remedy(other.modality, modality)))
        else:
            left_out = tuple(f"left out, a localiser: {one.path.name}" for one in members if one.localiser)
            paths = tuple(one.path for one in slices)
            series.append(Series(uid, first.number, first.description, paths, left_out + unread))
    ordered = sorted(series, key=lambda one: (not one.number.isdigit(), one.number.zfill(12), one.uid))
    return SeriesListing(tuple(ordered), tuple(skipped), (*problems, *foreign))


def _remedy(named: str, modality: str) -> str:
    own = next((word for word, name in DICOM_NAMES.items() if name == named), "other")
    return (
        f"give {'a ' if modality == 'ct' else ''}{DICOM_NAMES[modality]} series; series like this one are for datasets "
        f"of 'modality: {own}', and for models trained on them; {MIXED}"
    )
