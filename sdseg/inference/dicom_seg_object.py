"""The parts of a DICOM segmentation object (PS3.3 A.51): who, which slices, which segments, and the frames.

Written with pydicom alone; highdicom, which checks far more and weighs more than the rest of a light install allows,
reads every object back in the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from sdseg.core.array_types import MaskArray
from sdseg.inference.dicom_patient_study import copy_patient_and_study

__all__ = ["Identity", "Segment", "build_object", "code_item"]

Dataset = pydicom.Dataset
LOSSY = ("LossyImageCompressionRatio", "LossyImageCompressionMethod")
SEGMENT_NUMBER, POSITION = 0x0062000B, 0x00200032  # what the frames are ordered by
OF_SEGMENT, OF_POSITION = 0x0062000A, 0x00209113  # the groups that hold them


@dataclass(frozen=True)
class Identity:
    """What names the object and its series."""

    series_uid: str
    series_number: int
    instance_uid: str
    instance_number: int
    dimension_uid: str
    description: str  # of the content; may be empty
    model: str
    serial: str
    version: str


@dataclass(frozen=True)
class Segment:
    """One structure."""

    label: str
    category: Code
    kind: Code
    side: Code | None
    colour: tuple[int, int, int]  # RGB


def build_object(
    slices: Sequence[Dataset], masks: MaskArray, segments: Sequence[Segment], identity: Identity, *, keep_empty: bool
) -> Dataset:
    """The whole object of `masks` [slice,row,column,segment] in the order of `slices`, the headers of the series.

    Frames without a pixel are left out, unless `keep_empty`.
    """
    first, now = slices[0], datetime.now()
    whole = Dataset()
    whole.file_meta = FileMetaDataset()
    whole.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole.SpecificCharacterSet = "ISO_IR 192"  # UTF-8: without it every other letter of a name becomes '?'
    copy_patient_and_study(first, whole)
    whole.SOPClassUID, whole.SOPInstanceUID = SegmentationStorage, identity.instance_uid
    whole.Modality, whole.ImageType = "SEG", ["DERIVED", "PRIMARY"]
    whole.InstanceCreationDate = whole.ContentDate = now.strftime("%Y%m%d")
    whole.InstanceCreationTime = whole.ContentTime = now.strftime("%H%M%S.%f")
    whole.SeriesInstanceUID, whole.SeriesNumber = identity.series_uid, identity.series_number
    whole.InstanceNumber, whole.SeriesDescription = identity.instance_number, f"sdseg {identity.model}"[:64]
    whole.Manufacturer, whole.ManufacturerModelName = "sdseg", identity.model[:64]
    whole.DeviceSerialNumber, whole.SoftwareVersions = identity.serial, identity.version
    whole.ContentLabel, whole.ContentDescription = "SEGMENTATION", identity.description
    whole.PresentationLUTShape, whole.SegmentationType = "IDENTITY", "BINARY"
    whole.SegmentsOverlap = "YES" if (masks.sum(axis=-1) > 1).any() else "NO"
    whole.SegmentSequence = Items(_segment(number, one, identity) for number, one in enumerate(segments, start=1))
    whole.ReferencedSeriesSequence = Items([_referenced_series(slices)])
    whole.SourceImageSequence = Items(_reference(each) for each in slices)
    _add_compression(whole, slices)
    _add_dimensions(whole, identity.dimension_uid)
    whole.SharedFunctionalGroupsSequence = Items([_shared(slices)])
    _add_frames(whole, slices, masks, keep_empty=keep_empty)
    return whole


def code_item(code: Code) -> Dataset:
    """A code as the item of a sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _segment(number: int, segment: Segment, identity: Identity) -> Dataset:
    name = f"sdseg {identity.model}"[:64]
    algorithm = Dataset()
    algorithm.AlgorithmFamilyCodeSequence = Items([code_item(codes.DCM.ArtificialIntelligence)])
    algorithm.AlgorithmName, algorithm.AlgorithmVersion = name, f"{identity.version} {identity.serial[:12]}"
    kind = code_item(segment.kind)
    if segment.side is not None:
        kind.SegmentedPropertyTypeModifierCodeSequence = Items([code_item(segment.side)])
    item = Dataset()
    item.SegmentNumber, item.SegmentLabel = number, segment.label
    item.SegmentedPropertyCategoryCodeSequence = Items([code_item(segment.category)])
    item.SegmentedPropertyTypeCodeSequence = Items([kind])
    item.SegmentAlgorithmType, item.SegmentAlgorithmName = "AUTOMATIC", name
    item.SegmentationAlgorithmIdentificationSequence = Items([algorithm])
    item.RecommendedDisplayCIELabValue = _cielab(segment.colour)
    return item


def _cielab(colour: tuple[int, int, int]) -> list[int]:
    """L* from 0 to 100, a* and b* from -128 to 127, each over 16 bits (PS3.3 C.10.7.1.1)."""
    pixel = np.array([[colour]], np.float32) / 255.0
    lightness, a, b = (float(value) for value in cv2.cvtColor(pixel, cv2.COLOR_RGB2Lab)[0, 0])
    return [round(65535 * part) for part in (lightness / 100.0, (a + 128.0) / 255.0, (b + 128.0) / 255.0)]


def _reference(header: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    return item


def _referenced_series(slices: Sequence[Dataset]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = slices[0].SeriesInstanceUID
    item.ReferencedInstanceSequence = Items(_reference(each) for each in slices)
    return item


def _add_compression(whole: Dataset, slices: Sequence[Dataset]) -> None:
    """What was made of images that lost something says so."""
    lossy = [one for one in slices if one.get("LossyImageCompression") == "01"]
    whole.LossyImageCompression = "01" if lossy else "00"
    for tag in LOSSY:
        if lossy and tag in lossy[0]:
            setattr(whole, tag, lossy[0].get(tag))


def _add_dimensions(whole: Dataset, uid: str) -> None:
    """Frames are ordered by segment, then by position."""
    organisation = Dataset()
    organisation.DimensionOrganizationUID = uid
    whole.DimensionOrganizationSequence = Items([organisation])
    indices = []
    for pointer, group, label in (
        (SEGMENT_NUMBER, OF_SEGMENT, "Referenced Segment Number"),
        (POSITION, OF_POSITION, "Image Position Patient"),
    ):
        index = Dataset()
        index.DimensionOrganizationUID, index.DimensionDescriptionLabel = uid, label
        index.DimensionIndexPointer, index.FunctionalGroupPointer = pointer, group
        indices.append(index)
    whole.DimensionIndexSequence = Items(indices)


def _shared(slices: Sequence[Dataset]) -> Dataset:
    orientation, measures, item = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = slices[0].ImageOrientationPatient
    measures.SliceThickness, measures.PixelSpacing = slices[0].SliceThickness, slices[0].PixelSpacing
    measures.SpacingBetweenSlices = f"{_distance(slices):.10g}"
    item.PlaneOrientationSequence, item.PixelMeasuresSequence = Items([orientation]), Items([measures])
    return item


def _distance(slices: Sequence[Dataset]) -> float:
    """From slice to slice along the normal of the first, mm; a slice by itself is as far as it is thick."""
    if len(slices) == 1:
        return float(slices[0].SliceThickness)
    directions = np.array(slices[0].ImageOrientationPatient, np.float64)
    first, last = (np.array(each.ImagePositionPatient, np.float64) for each in (slices[0], slices[-1]))
    return abs(float(np.cross(directions[:3], directions[3:]) @ (last - first))) / (len(slices) - 1)


def _add_frames(whole: Dataset, slices: Sequence[Dataset], masks: MaskArray, *, keep_empty: bool) -> None:
    kept = [
        (segment, place)
        for segment in range(masks.shape[-1])
        for place in range(len(slices))
        if keep_empty or masks[place, :, :, segment].any()
    ]
    whole.NumberOfFrames, (whole.Rows, whole.Columns) = len(kept), masks.shape[1:3]
    whole.SamplesPerPixel, whole.PhotometricInterpretation, whole.PixelRepresentation = 1, "MONOCHROME2", 0
    whole.BitsAllocated, whole.BitsStored, whole.HighBit = 1, 1, 0
    whole.PerFrameFunctionalGroupsSequence = Items(_groups(slices, kept))
    pixels = np.concatenate([masks[place, :, :, segment].ravel() for segment, place in kept])
    bits = np.packbits(pixels, bitorder="little")
    whole.add_new(0x7FE00010, "OB", bits.tobytes() + b"\0" * (len(bits) % 2))


def _groups(slices: Sequence[Dataset], kept: Sequence[tuple[int, int]]) -> Iterator[Dataset]:
    purpose = code_item(codes.DCM.SourceImageForImageProcessingOperation)
    derived = code_item(Code("113076", "DCM", "Segmentation"))
    index = {place: number for number, place in enumerate(sorted({place for _, place in kept}), start=1)}
    for segment, place in kept:
        source, derivation, content, position, named, item = (Dataset() for _ in range(6))
        source.update(_reference(slices[place]))
        source.SpatialLocationsPreserved, source.PurposeOfReferenceCodeSequence = "YES", Items([purpose])
        derivation.SourceImageSequence, derivation.DerivationCodeSequence = Items([source]), Items([derived])
        content.DimensionIndexValues = [segment + 1, index[place]]
        position.ImagePositionPatient = slices[place].ImagePositionPatient
        named.ReferencedSegmentNumber = segment + 1
        item.DerivationImageSequence, item.FrameContentSequence = Items([derivation]), Items([content])
        item.PlanePositionSequence, item.SegmentIdentificationSequence = Items([position]), Items([named])
        yield item
