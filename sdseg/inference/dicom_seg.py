"""Masks of a DICOM series as a DICOM segmentation object (SEG) that refers to the series' own slices."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdseg.core.errors import UserError
from sdseg.core.files import atomic_file, sha256_text
from sdseg.inference.anatomical_codes import anatomical_code
from sdseg.inference.native_size import NativeSegmentation
from sdseg.io.structure_colours import structure_colour

if TYPE_CHECKING:
    from pydicom import Dataset

    from sdseg.inference.dicom_seg_object import Segment

__all__ = ["Maker", "write_segmentation"]

NEEDED = ("SOPInstanceUID", "SOPClassUID")
DERIVED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
# May be empty in a file, but have to be there.
EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
SERIES_NUMBER = 900  # added to that of the images, as is common for results


@dataclass(frozen=True)
class Maker:
    """Who found the masks, for the record inside the file."""

    model: str  # recipe and dataset
    checksum: str  # of the model
    version: str  # of this package


def write_segmentation(path: Path, native: NativeSegmentation, maker: Maker) -> None:
    """Write one segment per structure, by its name, overlapping where the structures do; slices as in the series.

    UIDs follow from the series, the model, the version and the masks: the same run writes the same object, and the
    hypotheses are objects of their own in the series of the mask, numbered after it. Where anonymisation took away the
    UID of study, series or frame of reference, one is made from the first slice's, and a note says so.
    Raises UserError where the slices lack their own UIDs, which tie a segmentation to them.
    """
    from pydicom.uid import generate_uid

    from sdseg.inference.dicom_patient_study import drop_unreadable  # pydicom's dictionaries take their time
    from sdseg.inference.dicom_seg_object import Identity, build_object

    if native.geometry is None:
        raise ValueError("a segmentation object needs a volume")
    thickness = f"{np.linalg.norm(native.geometry.matrix[:3, 2]):.6g}"
    slices = [_header(source, thickness) for source in native.sources]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd but harmless values
        native.notes += [*_derive(slices), *drop_unreadable(slices[0])]
    masks = np.stack(
        [
            native.geometry.to_native(native.canonical(native.mask(number))).transpose(2, 1, 0)  # [slice,row,column]
            for number in range(len(native.structures))
        ],
        axis=-1,
    )
    content_of = hashlib.sha256(np.packbits(masks.astype(np.uint8)).tobytes()).hexdigest()
    names = [slices[0].SeriesInstanceUID, maker.checksum, maker.version]
    instance = [*names, "instance", str(native.hypothesis), content_of]
    identity = Identity(
        series_uid=generate_uid(entropy_srcs=[*names, "series"]),
        series_number=SERIES_NUMBER + int(slices[0].get("SeriesNumber") or 0),
        instance_uid=generate_uid(entropy_srcs=instance),
        instance_number=1 + native.hypothesis,
        dimension_uid=generate_uid(entropy_srcs=[*instance, "dimensions"]),
        description=f"hypothesis {native.hypothesis}" if native.hypothesis else "",
        model=maker.model,
        serial=maker.checksum[:16],
        version=maker.version,
    )
    segments = [_segment(number, one.name) for number, one in enumerate(native.structures)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd but harmless values that are copied from the series
        content = BytesIO()
        try:
            whole = build_object(slices, masks, segments, identity, keep_empty=native.empty)
            whole.save_as(content, enforce_file_format=True)
        except (AttributeError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"no DICOM segmentation can be made of this series: {error}",
                where=native.file.path,
                remedy="convert the series to NIfTI; the headers of its slices are incomplete or contradictory",
            ) from error
    with atomic_file(path) as temporary:  # written by us: pydicom would wrap a full disk into a traceback
        temporary.write_bytes(content.getbuffer())


def _header(path: Path, thickness: str) -> Dataset:
    """What a slice says of itself, with the empty values that anonymisation takes away put back.

    `thickness` stands where the slice does not tell its own: the distance to the next one.
    """
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        for uid, other in (
            ("SOPInstanceUID", "MediaStorageSOPInstanceUID"),
            ("SOPClassUID", "MediaStorageSOPClassUID"),
        ):
            if not header.get(uid):  # the head of the file names them as well
                setattr(header, uid, header.file_meta.get(other, ""))
        for tag in EMPTY:
            if tag not in header:
                setattr(header, tag, "")
        if not header.get("SliceThickness"):
            header.SliceThickness = thickness
    missing = [tag for tag in NEEDED if not header.get(tag)]
    if missing:
        raise UserError(
            f"a slice without {', '.join(missing)}: a segmentation could not refer to it",
            where=path,
            remedy="give the series as the scanner or archive wrote it, or convert it to NIfTI",
        )
    return header


def _derive(slices: Sequence[Dataset]) -> list[str]:
    """Give all slices one UID where they have none; says which."""
    from pydicom.uid import generate_uid

    missing = [tag for tag in DERIVED if not all(one.get(tag) for one in slices)]
    for tag in missing:
        uid = generate_uid(entropy_srcs=[str(slices[0].SOPInstanceUID), tag])
        for one in slices:
            setattr(one, tag, uid)
    if not missing:
        return []
    return [
        f"slices without {', '.join(missing)}: made from the first slice's UID; a viewer finds the slices by their own"
    ]


def _segment(number: int, name: str) -> Segment:
    """Structure `number`, from 0: its code of SNOMED CT or one of our own, its side and its colour."""
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    from sdseg.inference.dicom_seg_object import Segment

    known = anatomical_code(name)
    abnormal, side = (known.abnormal, known.side) if known is not None else (False, None)
    private = Code(sha256_text(name)[:16].upper(), "99SDSEG", name[:64])
    return Segment(
        label=name[:64],
        category=codes.SCT.MorphologicallyAbnormalStructure if abnormal else codes.SCT.AnatomicalStructure,
        kind=Code(known.value, "SCT", known.meaning) if known else private,
        side=None if side is None else codes.SCT.Left if side == "left" else codes.SCT.Right,
        colour=structure_colour(number),
    )
