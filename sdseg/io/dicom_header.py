"""What the header of one DICOM file says of its slice: whose series it is, and where it lies in the patient.

The one reader of series: training and prediction see the same slices. A segmentation copies more of their headers
(inference/dicom_seg.py).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdseg.core.errors import UserError, first_line
from sdseg.io.content import file_size

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["NO_IMAGES", "Slice", "check_slice", "damaged", "is_dicom", "read_header"]

SUFFIXES = (".dcm", ".dicom", ".ima")
POSITION, ORIENTATION, SPACING = "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"
PLACE = {POSITION: (3, "(0020,0032)"), ORIENTATION: (6, "(0020,0037)"), SPACING: (2, "(0028,0030)")}
TEXTS = (
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "ImageType",
    "SOPInstanceUID",
    "PatientID",
)
COUNTS = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated")
TAGS = [*PLACE, *TEXTS, *COUNTS, "RescaleSlope", "RescaleIntercept", "SliceThickness"]
NO_IMAGES = ("SEG", "SR", "RTSTRUCT", "RTDOSE", "RTPLAN", "PR", "KO", "DOC", "REG")
UNPACKED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")  # transfer syntaxes: pixels as they are
SQUARE = 0.01  # how far directions may be from length 1 and from right angles: files hold six digits


@dataclass(frozen=True)
class Slice:
    """What the header of one file says. Numbers that are missing or none are left out of their tuples."""

    path: Path
    series: str
    number: str  # of the series, as the scanner counts, or empty
    description: str
    modality: str
    localiser: bool
    position: tuple[float, ...]  # x, y, z of the first pixel's centre, mm, LPS
    orientation: tuple[float, ...]  # directions of a row and of a column, LPS
    spacing: tuple[float, ...]  # mm between rows, mm between columns
    size: tuple[int, int]  # columns, rows; 0 where the header does not tell
    frames: int
    colours: int
    rescaling: tuple[float, ...]  # slope and intercept
    lacking: int  # bytes of pixels that are promised and not there; 0 also where they are compressed
    uid: str = ""  # of the file itself (SOP instance)
    patient: str = ""
    thickness: tuple[float, ...] = ()  # of the slice, mm

    @property
    def grid(self) -> tuple[object, ...]:
        """What all slices of a volume have in common."""
        return self.size, tuple(np.round(self.spacing, 4)), tuple(np.round(self.orientation, 3) + 0.0)


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its suffix or by the mark in its beginning; an index (DICOMDIR) is not meant."""
    if path.name.upper() == "DICOMDIR":
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        file_size(path)  # a named pipe would wait for ever
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except (OSError, UserError):
        return False


def read_header(path: Path) -> Slice:
    """What a DICOM file says of its slice, pixels unread. Raises UserError for a file that is none, or damaged."""
    import pydicom

    size = file_size(path)
    header, marked, reason = None, True, ""
    try:
        with warnings.catch_warnings(), path.open("rb") as stream:
            warnings.simplefilter("ignore")  # odd values elsewhere in a header are none of our business
            marked = stream.read(132)[128:] == b"DICM"  # old files lack the mark, and are read all the same
            stream.seek(0)
            dataset = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=TAGS, force=True)
            header = _slice(path, dataset, size - stream.tell())
    except Exception as error:  # pydicom raises nearly anything at damaged bytes, and one file must not end a run
        reason = first_line(error)
    if header is None or not (marked or header.modality):
        raise UserError(
            f"cannot be read: {reason if marked else 'not a DICOM file'}",
            where=path,
            remedy="replace the file by a whole copy, or take it away",
        )
    if not header.modality and 0 in header.size:
        raise UserError(
            "cannot be read: its header ends before it says what it shows (no modality, no rows)",
            where=path,
            remedy="replace the file by a whole copy, or take it away",
        )
    return header


def check_slice(one: Slice) -> None:
    """Raise UserError unless a header promises one grey slice with a place in the patient, and the file can hold it."""
    if one.frames > 1 or one.colours != 1:
        raise UserError(
            "several frames or colours in one file; one grey slice per file is expected",
            where=one.path,
            remedy="convert the series to NIfTI",
        )
    numbers = {POSITION: one.position, ORIENTATION: one.orientation, SPACING: one.spacing}
    missing = [tag for name, (count, tag) in PLACE.items() if len(numbers[name]) != count]
    if missing:
        raise UserError(
            f"no place in the patient: {' and '.join(missing)} missing",
            where=one.path,
            remedy="take files away that are no slices (reports, scouts), or convert the series to NIfTI",
        )
    fault = _fault(one)
    if fault is not None:
        raise UserError(fault, where=one.path, remedy="replace the file by a whole copy, or export the series again")


def damaged(path: Path) -> UserError:
    """The error of a file whose pixels cannot be read."""
    return UserError(
        "a DICOM file that cannot be read: truncated, damaged or compressed in an unknown way",
        where=path,
        remedy="replace the file by a whole copy, or convert the series to NIfTI",
    )


def _fault(one: Slice) -> str | None:
    """What is impossible in a header, in words."""
    columns, rows = one.size
    if columns < 1 or rows < 1:
        return f"an image of {rows} rows and {columns} columns"
    if one.lacking > 0:
        return (
            f"truncated, or with a wrong header: it promises {rows} rows and {columns} columns, "
            f"and {one.lacking:,} bytes of their pixels are missing"
        )
    if not all(length > 0 and math.isfinite(length) for length in one.spacing):
        return f"a pixel spacing of {' and '.join(f'{length:g}' for length in one.spacing)} mm"
    row, column = np.array(one.orientation[:3]), np.array(one.orientation[3:])
    lengths = (float(np.linalg.norm(row)), float(np.linalg.norm(column)))
    crooked = max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(float(row @ column)))
    if not crooked <= SQUARE:  # NaN included
        return (
            f"directions of rows and columns ({', '.join(f'{value:g}' for value in one.orientation)}) that are no two "
            "of length 1 at right angles"
        )
    if not all(map(math.isfinite, one.position)):
        return "a position that is NaN or infinite"
    if not all(map(math.isfinite, one.rescaling)) or (one.rescaling and one.rescaling[0] == 0):
        return f"a rescale slope of {one.rescaling[0]:g}: every voxel would have one value"
    return None


def _slice(path: Path, dataset: Dataset, remaining: int) -> Slice:
    """`remaining` bytes follow the header."""
    texts = {tag: str(dataset.get(tag, "") or "").strip(" \0") for tag in TEXTS}
    counts = {tag: int(dataset.get(tag) or 0) for tag in COUNTS}
    frames, colours = max(1, counts["NumberOfFrames"]), counts["SamplesPerPixel"] or 1
    promised = counts["Rows"] * counts["Columns"] * frames * colours * (counts["BitsAllocated"] or 16) // 8
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", UNPACKED[0]))
    return Slice(
        path=path,
        series=texts["SeriesInstanceUID"],
        number=texts["SeriesNumber"],
        description=texts["SeriesDescription"],
        modality=texts["Modality"],
        localiser="LOCALIZER" in texts["ImageType"].upper(),
        position=_numbers(dataset, POSITION),
        orientation=_numbers(dataset, ORIENTATION),
        spacing=_numbers(dataset, SPACING),
        size=(counts["Columns"], counts["Rows"]),
        frames=frames,
        colours=colours,
        rescaling=(*_numbers(dataset, "RescaleSlope"), *_numbers(dataset, "RescaleIntercept")),
        lacking=max(0, promised - remaining) if syntax in UNPACKED else 0,
        uid=texts["SOPInstanceUID"],
        patient=texts["PatientID"],
        thickness=_numbers(dataset, "SliceThickness"),
    )


def _numbers(dataset: Dataset, tag: str) -> tuple[float, ...]:
    try:
        value = dataset.get(tag)
        if value is None or value == "":
            return ()
        return tuple(float(part) for part in (value if hasattr(value, "__iter__") else [value]))
    except (ValueError, TypeError):
        return ()
