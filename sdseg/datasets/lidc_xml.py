"""The XML files of LIDC-IDRI: what each of up to four readers outlined in the slices of one CT series.

An outline is a chain of pixels just outside of a nodule of 3 mm or more: the nodule is what it encloses, without the
chain itself. Outlines marked as no inclusion are holes. Smaller nodules and other findings are single points, and no
part of a mask. Source: the annotation files' own documentation on the LIDC-IDRI page of The Cancer Imaging Archive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import LabelArray, MaskArray
from sdseg.core.errors import UserError, first_line
from sdseg.io.dicom_header import read_header

__all__ = ["READERS", "Markup", "Outline3mm", "is_ct_markup", "is_markup", "read_markup", "read_outlined"]

READERS = ("reader1", "reader2", "reader3", "reader4")  # sessions have no names, and their order means nothing
CT_ROOT, LABEL = "LidcReadMessage", 1
POINTS = 3  # fewer enclose nothing: the mark of a nodule below 3 mm is one point
SAME_PLACE = 0.01  # mm
DAMAGED = "fetch the file again from the collection's page, or take it and its series away"


@dataclass(frozen=True)
class Outline3mm:
    """A chain of pixels about a nodule, or about a hole in one, in one slice."""

    uid: str  # of the slice (SOP instance), or empty
    z: float  # of the slice, mm
    inclusion: bool  # false: a hole
    points: npt.NDArray[np.int32]  # [n,2] columns and rows

    def lies_in(self, uid: str, z: float | None) -> bool:
        """Whether the slice is the one of this UID, or where the file gives none, at this place."""
        return self.uid == uid if self.uid else z is not None and abs(self.z - z) < SAME_PLACE


@dataclass(frozen=True)
class Markup:
    """All outlines of one series: of each reader the nodules he saw, each with its outlines."""

    path: Path
    series: str  # UID
    readers: tuple[tuple[tuple[Outline3mm, ...], ...], ...]

    @property
    def outlines(self) -> Iterator[Outline3mm]:
        """Every outline of every reader."""
        return (outline for nodules in self.readers for nodule in nodules for outline in nodule)

    def mask(self, reader: int, uid: str, z: float | None, size: tuple[int, int]) -> MaskArray:
        """What a reader outlined in one slice of `size` columns and rows, [rows,columns]; empty for nothing."""
        whole = np.zeros(size[::-1], dtype=np.bool_)
        for nodule in self.readers[reader]:
            outlines = [outline for outline in nodule if outline.lies_in(uid, z)]
            if not outlines:
                continue
            own = np.zeros_like(whole)
            for outline in sorted(outlines, key=lambda one: not one.inclusion):  # holes last
                own[_enclosed(outline.points, whole.shape)] = outline.inclusion
            whole |= own
        return whole


def is_markup(path: Path) -> bool:
    """Whether a label is such a file, by its name."""
    return path.suffix.lower() == ".xml"


def is_ct_markup(path: Path) -> bool:
    """Whether the file is about a CT: the collection has others about radiographs. UserError for no XML at all."""
    return _root(path).tag.rpartition("}")[2] == CT_ROOT


def read_markup(path: Path) -> Markup:
    """Every outline in a file. Raises UserError where it is damaged, or of more readers than there are."""
    status = path.stat() if path.is_file() else None
    return _read(path, (status.st_size, status.st_mtime_ns) if status else (0, 0))


def read_outlined(path: Path, image: Path, annotator: str) -> LabelArray:
    """What one of `READERS` outlined in the slice of a DICOM file, as label ids [column,row,1]."""
    header = read_header(image)
    z = header.position[2] if len(header.position) == 3 else None
    mask = read_markup(path).mask(READERS.index(annotator), header.uid, z, header.size)
    return np.where(mask.T[:, :, None], LABEL, 0).astype(np.uint8)


def _enclosed(points: npt.NDArray[np.int32], shape: tuple[int, ...]) -> MaskArray:
    """The pixels that a closed chain goes around, without those it goes through."""
    filled = np.zeros(shape, dtype=np.uint8)
    cv2.fillPoly(filled, [points], 1)
    cv2.polylines(filled, [points], isClosed=True, color=0)
    return filled.astype(np.bool_)


@lru_cache(maxsize=256)
def _read(path: Path, _version: tuple[int, int]) -> Markup:
    root = _root(path)
    if root.tag.rpartition("}")[2] != CT_ROOT:
        raise UserError(
            f"'{root.tag.rpartition('}')[2]}', where '{CT_ROOT}' is expected", where=path, remedy="give the XML of a CT"
        )
    try:
        series = _text(root, "ResponseHeader/SeriesInstanceUid", "ResponseHeader/SeriesInstanceUID")
        readers = tuple(tuple(_nodules(session)) for session in root.findall("{*}readingSession"))
    except (KeyError, ValueError) as error:
        raise UserError(f"damaged: {first_line(error)}", where=path, remedy=DAMAGED) from None
    if not 1 <= len(readers) <= len(READERS):
        raise UserError(f"{len(readers)} readers, where 1 to {len(READERS)} are expected", where=path, remedy=DAMAGED)
    return Markup(path, series, readers)


def _root(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise UserError(f"damaged: no whole XML ({first_line(error)})", where=path, remedy=DAMAGED) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=path, remedy=DAMAGED) from None


def _nodules(session: ElementTree.Element) -> Iterator[tuple[Outline3mm, ...]]:
    """The nodules of 3 mm or more that one reader saw."""
    for nodule in session.findall("{*}unblindedReadNodule"):
        outlines = tuple(_outline(roi) for roi in nodule.findall("{*}roi"))
        if any(len(outline.points) >= POINTS for outline in outlines):
            yield outlines


def _outline(roi: ElementTree.Element) -> Outline3mm:
    points = [[int(_text(edge, "xCoord")), int(_text(edge, "yCoord"))] for edge in roi.findall("{*}edgeMap")]
    if not points:
        raise KeyError("an outline without points (edgeMap)")
    uid = roi.find("{*}imageSOP_UID")
    return Outline3mm(
        uid=(uid.text or "").strip() if uid is not None else "",
        z=float(_text(roi, "imageZposition")),
        inclusion=_text(roi, "inclusion").upper() != "FALSE",
        points=np.array(points, dtype=np.int32),
    )


def _text(element: ElementTree.Element, *names: str) -> str:
    """The text of the first of some elements below another. Raises KeyError where none is there."""
    for name in names:
        text = (element.findtext("/".join(f"{{*}}{part}" for part in name.split("/"))) or "").strip()
        if text:
            return text
    raise KeyError(f"no {names[0].rpartition('/')[2]}")
