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
    from highdicom.seg import SegmentDescription
    from pydicom import Dataset

__all__ = ["Maker", "write_segmentation"]

NEEDED = ("SOPInstanceUID", "SOPClassUID")
DERIVED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
# May be empty in a file, but highdicom wants them to be there.
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
    import highdicom as hd
    from pydicom.uid import generate_uid

    if native.geometry is None:
        raise ValueError("a segmentation object needs a volume")
    thickness = f"{np.linalg.norm(native.geometry.matrix[:3, 2]):.6g}"
    slices = [_header(source, thickness) for source in native.sources]
    native.notes += _derive(slices)
    masks = np.stack(
        [
            native.geometry.to_native(native.canonical(native.mask(number))).transpose(2, 1, 0)  # [slice,row,column]
            for number in range(len(native.structures))
        ],
        axis=-1,
    ).astype(np.uint8)
    content_of = hashlib.sha256(np.packbits(masks).tobytes()).hexdigest()
    names = [slices[0].SeriesInstanceUID, maker.checksum, maker.version]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd but harmless values that are copied from the series
        try:
            segmentation = hd.seg.Segmentation(
                source_images=slices,
                pixel_array=masks,
                segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=[
                    _description(number, one.name, maker) for number, one in enumerate(native.structures, start=1)
                ],
                series_instance_uid=generate_uid(entropy_srcs=[*names, "series"]),
                series_number=SERIES_NUMBER + int(slices[0].get("SeriesNumber") or 0),
                sop_instance_uid=generate_uid(entropy_srcs=[*names, "instance", str(native.hypothesis), content_of]),
                instance_number=1 + native.hypothesis,
                specific_character_set="ISO_IR 192",  # UTF-8: without it every other letter of a name becomes '?'
                manufacturer="sdseg",
                manufacturer_model_name=maker.model[:64],
                software_versions=maker.version,
                device_serial_number=maker.checksum[:16],
                content_label="SEGMENTATION",
                content_description=f"hypothesis {native.hypothesis}" if native.hypothesis else None,
                series_description=f"sdseg {maker.model}"[:64],
                omit_empty_frames=not native.empty,
            )
        except (AttributeError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"no DICOM segmentation can be made of this series: {error}",
                where=native.file.path,
                remedy="convert the series to NIfTI; the headers of its slices are incomplete or contradictory",
            ) from error
        content = BytesIO()
        segmentation.save_as(content)
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


def _description(number: int, name: str, maker: Maker) -> SegmentDescription:
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    known, family = anatomical_code(name), codes.DCM.ArtificialIntelligence
    abnormal = known is not None and known.abnormal
    private = Code(sha256_text(name)[:16].upper(), "99SDSEG", name[:64])
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure
        if abnormal
        else codes.SCT.AnatomicalStructure,
        segmented_property_type=Code(known.value, "SCT", known.meaning) if known else private,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=f"sdseg {maker.model}"[:64], family=family, version=f"{maker.version} {maker.checksum[:12]}"
        ),
        display_color=hd.color.CIELabColor.from_rgb(*structure_colour(number - 1)),
    )
    if known is not None and known.side is not None:
        side = codes.SCT.Left if known.side == "left" else codes.SCT.Right
        (kind,) = description.SegmentedPropertyTypeCodeSequence
        kind.SegmentedPropertyTypeModifierCodeSequence = [hd.sr.CodedConcept.from_code(side)]
    return description
