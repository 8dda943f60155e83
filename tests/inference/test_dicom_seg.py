"""DICOM segmentation objects, read back by highdicom, by pydicom alone and by SimpleITK, against their series."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.sr._concepts_dict import concepts as CONCEPTS

from sdseg.artifacts.image_contract import Structure
from sdseg.config.shape import Plane
from sdseg.core.errors import UserError
from sdseg.datasets.sources import SOURCES
from sdseg.inference.anatomical_codes import CODES, anatomical_code
from sdseg.inference.dicom_seg import Maker, write_segmentation
from sdseg.inference.find_inputs import find_inputs
from sdseg.inference.load_input import open_file
from sdseg.inference.native_size import NativeSegmentation
from sdseg.io.structure_colours import structure_colour
from tests.helpers.raw_files import write_series
from tests.helpers.tiny import CT, DISC_CUP

MAKER = Maker("bright tiny", "0123456789abcdef0123", "0.1.0")
STUDY = {
    "t0020_000d": "1.2.826.0.1.3680043.2.1125.9",
    "t0020_0052": "1.2.826.0.1.3680043.2.1125.8",
    "t0020_0011": "4",
    "t0010_0020": "patient 7",
}
SAGITTAL = np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]])
TILTED = np.array([[1, 0, 0], [0, np.cos(0.3), 0], [0, np.sin(0.3), 1]])  # the gantry: slices step along z, not across


def opened(folder: Path, structures: tuple[Structure, ...] = DISC_CUP, plane: Plane = "axial") -> NativeSegmentation:
    (file,) = find_inputs([folder], folder / "out").inputs
    return open_file(file, CT.model_copy(update={"slicing": plane}), structures)


def fill(native: NativeSegmentation, seed: int = 0) -> None:
    """Any bits: overlapping structures, one slice of nothing."""
    count = 2 ** len(native.structures)
    native.bits[...] = np.random.default_rng(seed).integers(0, count, native.bits.shape)
    native.bits[1] = 0
    native.pixels[...] = [native.mask(number).sum() for number in range(len(native.structures))]


def series(folder: Path, names: list[str] | None = None, **extra: Any) -> Path:
    voxels = np.random.default_rng(1).integers(-900, 900, (9, 8, 5)).astype(np.int16)
    return write_series(folder, voxels, names=names, **extra)


def planes(path: Path, number: int) -> dict[str, np.ndarray]:
    """Frames of one segment by the slice they refer to, from the bare tags of the file: no help of highdicom."""
    found = pydicom.dcmread(path)
    frames = found.pixel_array.reshape(-1, found.Rows, found.Columns)
    picked = {}
    for frame, group in zip(frames, found.PerFrameFunctionalGroupsSequence, strict=True):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            source = group.DerivationImageSequence[0].SourceImageSequence[0]
            picked[str(source.ReferencedSOPInstanceUID)] = frame > 0
    return picked


def positions(path: Path) -> dict[str, list[float]]:
    """Where each frame lies, by the slice it was made from."""
    return {
        str(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID): [
            float(value) for value in group.PlanePositionSequence[0].ImagePositionPatient
        ]
        for group in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    }


@pytest.mark.parametrize(
    ("directions", "plane"), [(None, "axial"), (SAGITTAL, "axial"), (TILTED, "axial"), (TILTED, "coronal")]
)
def test_every_pixel_lies_on_its_own_slice(tmp_path: Path, directions: np.ndarray | None, plane: Plane) -> None:
    folder = series(tmp_path / "s", ["e.dcm", "b.dcm", "d.dcm", "a.dcm", "c.dcm"], directions=directions, **STUDY)
    native = opened(folder, plane=plane)
    fill(native)
    write_segmentation(tmp_path / "seg é.dcm", native, MAKER)
    for number in range(2):
        file_order = native.as_file(native.mask(number))  # [column,row,slice]
        ours = planes(tmp_path / "seg é.dcm", number + 1)
        for place, source in enumerate(native.sources):
            header = pydicom.dcmread(source, stop_before_pixels=True)
            uid = str(header.SOPInstanceUID)
            if uid in ours:
                np.testing.assert_allclose(
                    positions(tmp_path / "seg é.dcm")[uid], header.ImagePositionPatient, atol=1e-4
                )
            expected = file_order[:, :, place].T
            np.testing.assert_array_equal(ours.get(uid, np.zeros_like(expected)), expected)

    # SimpleITK, which knows nothing of segments: the same frames at the same places.
    image = SimpleITK.ReadImage(str(tmp_path / "seg é.dcm"))
    frames = SimpleITK.GetArrayFromImage(image) > 0
    assert frames.sum() == native.pixels.sum()
    assert image.GetSize()[:2] == (9, 8)


def test_what_it_says(tmp_path: Path) -> None:
    native = opened(series(tmp_path / "s", **STUDY))
    fill(native)
    write_segmentation(tmp_path / "seg.dcm", native, MAKER)
    found = highdicom.seg.segread(tmp_path / "seg.dcm")
    first = pydicom.dcmread(native.sources[0], stop_before_pixels=True)
    assert (found.Modality, found.SegmentationType) == ("SEG", "BINARY")
    for tag in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert found[tag].value == first[tag].value != ""
    assert found.SeriesInstanceUID != first.SeriesInstanceUID
    assert found.SeriesNumber == 904
    labels = [found.get_segment_description(number).segment_label for number in found.segment_numbers]
    assert labels == ["disc", "cup"]
    referred = {
        str(uid) for _, series_uid, uid in found.get_source_image_uids() if series_uid == first.SeriesInstanceUID
    }
    assert referred == {
        str(pydicom.dcmread(source, stop_before_pixels=True).SOPInstanceUID) for source in native.sources
    }
    assert native.notes == []
    # Seen from its series, overlap and all.
    seen = found.get_pixels_by_source_instance(
        [one for _, _, one in found.get_source_image_uids()], ignore_spatial_locations=True
    )
    assert seen.sum() == native.pixels.sum()


def test_the_same_run_writes_the_same_object(tmp_path: Path) -> None:
    native = opened(series(tmp_path / "s", **STUDY))
    fill(native)
    for name in ("a.dcm", "b.dcm"):
        write_segmentation(tmp_path / name, native, MAKER)
    write_segmentation(tmp_path / "c.dcm", native, Maker("bright tiny", "another", "0.1.0"))
    a, b, c = (
        pydicom.dcmread(tmp_path / name, stop_before_pixels=True).SOPInstanceUID for name in ("a.dcm", "b.dcm", "c.dcm")
    )
    assert a == b != c


def test_other_masks_of_as_many_pixels_are_another_object(tmp_path: Path) -> None:
    native = opened(series(tmp_path / "s", **STUDY))
    fill(native)
    mirrored, hypothesis = (replace(native, **more) for more in ({}, {"hypothesis": 2}))
    mirrored.bits[...] = native.bits[:, ::-1]
    hypothesis.bits[...] = native.bits
    for one in (mirrored, hypothesis):
        one.pixels[...] = native.pixels
    headers = []
    for number, one in enumerate((native, mirrored, hypothesis)):
        write_segmentation(tmp_path / f"{number}.dcm", one, MAKER)
        headers.append(pydicom.dcmread(tmp_path / f"{number}.dcm", stop_before_pixels=True))
    assert len({header.SOPInstanceUID for header in headers}) == 3
    assert len({(header.SeriesInstanceUID, header.SeriesDescription) for header in headers}) == 1
    assert [header.InstanceNumber for header in headers] == [1, 1, 3]
    assert headers[2].ContentDescription == "hypothesis 2"


def test_codes_of_organs(tmp_path: Path) -> None:
    names = ("liver", "left kidney", "right adrenal gland", "something else", "portal and splenic vein", "nodule")
    native = opened(
        series(tmp_path / "s", **STUDY), tuple(Structure(name=name, values=(k,)) for k, name in enumerate(names, 1))
    )
    fill(native)
    write_segmentation(tmp_path / "seg.dcm", native, MAKER)
    found = highdicom.seg.segread(tmp_path / "seg.dcm")
    types = [found.get_segment_description(number).segmented_property_type for number in found.segment_numbers]
    assert [(one.scheme_designator, one.meaning) for one in types] == [
        *(("SCT", "Liver"), ("SCT", "Kidney"), ("SCT", "Adrenal gland"), ("99SDSEG", "something else")),
        *(("SCT", "Portal vein and splenic vein (combined site)"), ("SCT", "Nodule")),
    ]
    # By the bare tags: the side of what has one, what is no part of the body, and a colour for each.
    segments = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
    kinds = [one.SegmentedPropertyTypeCodeSequence[0] for one in segments]
    modifiers = [kind.get("SegmentedPropertyTypeModifierCodeSequence") for kind in kinds]
    assert [one[0].CodeMeaning if one else None for one in modifiers] == [None, "Left", "Right", None, None, None]
    categories = [one.SegmentedPropertyCategoryCodeSequence[0].CodeValue for one in segments]
    assert categories == ["91723000"] * 5 + ["49755003"]
    for number, one in enumerate(segments):
        shown = highdicom.color.CIELabColor.from_dicom_value(list(one.RecommendedDisplayCIELabValue)).to_rgb()
        np.testing.assert_allclose(shown, structure_colour(number), atol=2)


def test_codes_are_those_of_the_dictionary() -> None:
    """As pydicom has them; and every structure of a known dataset with volumes has one."""
    of_pydicom = {entry: each for each, codes in CONCEPTS["SCT"].items() for entry in codes}
    unknown = {code.value for code in CODES.values()} - set(of_pydicom)
    assert unknown == {"110765007"}  # portal vein and splenic vein, as one
    structures = {
        one.name
        for source in SOURCES.values()
        if source.modality == "ct"
        for target in source.targets.values()
        for one in target
    }
    assert {name for name in structures if anatomical_code(name) is None} == set()
    assert anatomical_code("kidney_left") == anatomical_code("Left Kidney")
    assert anatomical_code("left right kidney") is None
    assert anatomical_code("Left ventricle") == CODES["left ventricle"]  # no side of a ventricle


def test_nothing_found_is_an_object_of_empty_frames(tmp_path: Path) -> None:
    native = opened(series(tmp_path / "s", **STUDY))
    write_segmentation(tmp_path / "seg.dcm", native, MAKER)
    assert not pydicom.dcmread(tmp_path / "seg.dcm").pixel_array.any()


def test_identifiers_lost_to_anonymisation(samples: Path, tmp_path: Path) -> None:
    native = opened(samples / "dicom_ct")
    fill(native)
    write_segmentation(tmp_path / "seg.dcm", native, MAKER)
    assert "slices without StudyInstanceUID, SeriesInstanceUID: made from the first slice's UID" in native.notes[0]
    ours = planes(tmp_path / "seg.dcm", 1)
    for place, source in enumerate(native.sources):
        uid = str(pydicom.dcmread(source, stop_before_pixels=True).file_meta.MediaStorageSOPInstanceUID)
        expected = native.as_file(native.mask(0))[:, :, place].T
        np.testing.assert_array_equal(ours.get(uid, np.zeros_like(expected)), expected)


def test_slices_without_an_identity_are_refused(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", **STUDY)
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = ""
        pydicom.dcmwrite(path, header, enforce_file_format=False)
    with pytest.raises(UserError, match="a slice without SOPInstanceUID"):
        write_segmentation(tmp_path / "seg.dcm", opened(folder), MAKER)


def test_names_of_any_script_are_kept(tmp_path: Path) -> None:
    """Of the structures, and of a patient whose series has another character set."""
    structures = (Structure(name="肝", values=(1,)), Structure(name="Größe é", values=(2,)))
    for path in series(tmp_path / "s", **STUDY).iterdir():
        header = pydicom.dcmread(path)
        header.SpecificCharacterSet, header.PatientName = "ISO_IR 100", "Müller^Jörg"
        header.save_as(path)
    native = opened(tmp_path / "s", structures)
    fill(native)
    write_segmentation(tmp_path / "o.dcm", native, MAKER)
    found = pydicom.dcmread(tmp_path / "o.dcm")
    assert [segment.SegmentLabel for segment in found.SegmentSequence] == ["肝", "Größe é"]
    assert str(found.PatientName) == "Müller^Jörg"
    assert found.SegmentsOverlap == "YES"
    native.bits[...] = np.random.default_rng(0).integers(0, 3, native.bits.shape)  # 3 would be both at once
    write_segmentation(tmp_path / "apart.dcm", native, MAKER)
    assert pydicom.dcmread(tmp_path / "apart.dcm").SegmentsOverlap == "NO"
