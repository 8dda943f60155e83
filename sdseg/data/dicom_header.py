"""What the header of one DICOM file says of its slice: whose series it is, and where it lies in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from SimpleITK import ImageFileReader, ProcessObject

from sdseg.errors import UserError

__all__ = ["Slice", "damaged", "read_header"]

# Tags of a slice.
MODALITY, SERIES, DESCRIPTION, FRAMES = "0008|0060", "0020|000e", "0008|103e", "0028|0008"
POSITION, ORIENTATION, SPACING, SAMPLES = "0020|0032", "0020|0037", "0028|0030", "0028|0002"
LENGTHS = {POSITION: 3, ORIENTATION: 6, SPACING: 2}  # how many numbers each place tag holds


@dataclass(frozen=True)
class Slice:
    """What the header of one file says."""

    path: Path
    series: str
    description: str
    modality: str
    position: tuple[float, ...]  # x, y, z of the first pixel's centre, mm, LPS
    orientation: tuple[float, ...]  # directions of a row and of a column, LPS
    spacing: tuple[float, ...]  # mm between rows, mm between columns
    size: tuple[int, int]  # columns, rows

    @property
    def grid(self) -> tuple[object, ...]:
        """What all slices of a volume have in common."""
        return self.size, tuple(np.round(self.spacing, 4)), tuple(np.round(self.orientation, 3) + 0.0)


def read_header(path: Path) -> Slice | None:
    """What a file says of its slice, None for a file that is no DICOM (a note, an index)."""
    reader = ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    ProcessObject.SetGlobalWarningDisplay(False)  # GDCM's own messages name no file
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        if path.suffix.lower() in (".dcm", ".ima") or _has_mark(path):
            raise damaged(path) from None
        return None
    present = set(reader.GetMetaDataKeys())

    def text(tag: str) -> str:
        return reader.GetMetaData(tag).strip(" \0") if tag in present else ""

    columns, rows, *more = reader.GetSize()
    if text(SAMPLES) not in ("", "1") or max([1, *more]) > 1 or int(text(FRAMES) or 1) > 1:
        raise UserError(
            "several frames or colours in one file; one grey slice per file is expected",
            where=path,
            remedy="convert the series to NIfTI",
        )
    numbers = {tag: _numbers(text(tag)) for tag in LENGTHS}
    missing = [f"({tag.replace('|', ',')})" for tag, length in LENGTHS.items() if len(numbers[tag]) != length]
    if missing:
        raise UserError(
            f"no place in the patient: {' and '.join(missing)} missing",
            where=path,
            remedy="take files away that are no slices (reports, scouts), or convert the series to NIfTI",
        )
    return Slice(
        path=path,
        series=text(SERIES),
        description=text(DESCRIPTION),
        modality=text(MODALITY),
        position=numbers[POSITION],
        orientation=numbers[ORIENTATION],
        spacing=numbers[SPACING],
        size=(int(columns), int(rows)),
    )


def damaged(path: Path) -> UserError:
    """The error of a file whose header or pixels cannot be read."""
    return UserError(
        "a DICOM file that cannot be read: truncated, damaged or compressed in an unknown way",
        where=path,
        remedy="replace the file by a whole copy, or convert the series to NIfTI",
    )


def _has_mark(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split("\\"))
    except ValueError:
        return ()
