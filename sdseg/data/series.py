"""DICOM files told apart into series: what can be segmented, what is left out and why, what cannot be read."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdseg.errors import UserError

__all__ = ["Series", "SeriesFound", "find_series", "is_dicom"]

SUFFIXES = (".dcm", ".dicom", ".ima")
TAGS = ["Modality", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "ImageType", "Rows"]
DAMAGED = (OSError, EOFError, ValueError, KeyError, AttributeError, NotImplementedError)  # what pydicom raises
NO_IMAGES = ("SEG", "SR", "RTSTRUCT", "RTDOSE", "RTPLAN", "PR", "KO", "DOC", "REG")


@dataclass(frozen=True)
class Series:
    """The files of one series, localisers left out."""

    uid: str
    number: str  # as the scanner counts, or empty
    files: tuple[Path, ...]
    notes: tuple[str, ...]  # what was left out of it

    @property
    def folder(self) -> Path:
        return self.files[0].parent


@dataclass(frozen=True)
class SeriesFound:
    """What lies in a folder."""

    series: tuple[Series, ...]
    skipped: tuple[tuple[Path, str], ...]  # a file, and why it and those like it are left out
    problems: tuple[UserError, ...]  # files that cannot be read, series that are no CT


@dataclass(frozen=True)
class _Header:
    path: Path
    uid: str
    number: str
    description: str
    modality: str
    localiser: bool
    pixels: bool


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its suffix or by the mark in its beginning; an index (DICOMDIR) is not meant."""
    if path.name.upper() == "DICOMDIR":
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def find_series(files: Sequence[Path]) -> SeriesFound:
    """Series among the files of one folder, sorted by number and UID.

    Left out and said so: localisers (ImageType), reports, plans and segmentations, which no model reads. A series of
    another modality than CT is a problem, as is a file that cannot be read.
    """
    grouped: dict[str, list[_Header]] = defaultdict(list)
    problems = []
    for path in files:
        try:
            header = _header(path)
        except UserError as error:
            problems.append(error)
            continue
        grouped[header.uid].append(header)
    damaged = tuple(
        f"a file beside it cannot be read and may be one of its slices: {error.where}" for error in problems
    )
    series, skipped, foreign = [], [], list[UserError]()
    for uid, members in grouped.items():
        first, slices = members[0], [one.path for one in members if not one.localiser]
        named = f"series '{first.description or first.number or uid}', {len(members)} file(s)"
        if first.modality in NO_IMAGES or not any(one.pixels for one in members):
            skipped.append((first.path, f"{named}: {first.modality or 'no modality'}, not images of a patient"))
        elif not slices:
            skipped.append((first.path, f"{named}: a localiser"))
        elif first.modality != "CT":
            foreign.append(
                UserError(
                    f"{named}: modality '{first.modality}'; CT is expected, whose values are Hounsfield units",
                    where=first.path,
                    remedy="give a CT series",
                )
            )
        else:
            left_out = tuple(f"left out, a localiser: {one.path.name}" for one in members if one.localiser)
            series.append(Series(uid, first.number, tuple(slices), left_out + damaged))
    ordered = sorted(series, key=lambda one: (not one.number.isdigit(), one.number.zfill(12), one.uid))
    return SeriesFound(tuple(ordered), tuple(skipped), (*problems, *foreign))


def _header(path: Path) -> _Header:
    import pydicom
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values elsewhere in a header are none of our business
            found = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
            texts = {tag: str(found.get(tag, "") or "").strip() for tag in TAGS}
    except (InvalidDicomError, BytesLengthException, *DAMAGED) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, InvalidDicomError):
            reason = "not a DICOM file"
        raise UserError(
            f"cannot be read: {reason}", where=path, remedy="replace the file by a whole copy, or take it away"
        ) from None
    return _Header(
        path=path,
        uid=texts["SeriesInstanceUID"],
        number=texts["SeriesNumber"],
        description=texts["SeriesDescription"],
        modality=texts["Modality"],
        localiser="LOCALIZER" in texts["ImageType"].upper(),
        pixels=bool(texts["Rows"]),
    )
