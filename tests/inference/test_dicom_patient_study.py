"""A segmentation object says of patient, study and clinical trial what its series says: against highdicom's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import highdicom.base
import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword

from sdseg.inference.dicom_seg import write_segmentation
from tests.helpers.raw_files import write_series
from tests.inference.test_dicom_seg import MAKER, STUDY, fill, opened

LEVELS = ("Patient", "Study")  # information entities that a segmentation shares with its series
VALUES = {"AS": "042Y", "CS": "YES", "DA": "20240131", "DS": "71.5", "FD": 12.5, "IS": "3", "TM": "101112", "US": 1}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    voxels = np.random.default_rng(1).integers(-900, 900, (9, 8, 3)).astype(np.int16)
    return write_series(tmp_path_factory.mktemp("plain"), voxels, **STUDY)


def keywords() -> list[str]:
    """Top-level attributes of the modules of patient and study in a CT image, as highdicom has them."""
    modules, attributes = highdicom.base.get_iod_module_map(), highdicom.base.get_module_attribute_map()
    chosen = [one["key"] for one in modules["ct-image"] if one["ie"] in LEVELS]
    return [item["keyword"] for module in chosen for item in attributes[module] if not item["path"]]


def value_of(keyword: str) -> Any:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    kind = dictionary_VR(tag)
    if kind == "SQ":
        item = pydicom.Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "T-1", "99TEST", f"é {keyword}"
        return [item]
    if kind == "PN":
        return "Müller^Jörg" if dictionary_VM(tag) == "1" else ["Müller^Jörg", "Weiß^Zoë"]
    return VALUES.get(kind, f"é {keyword}"[:14])


def test_every_attribute_of_patient_study_and_trial_is_copied(plain: Path, tmp_path: Path) -> None:
    kept = ("StudyInstanceUID", "PatientID")
    values = {keyword: value_of(keyword) for keyword in keywords() if keyword not in kept}
    assert len(values) > 90
    for path in sorted(plain.iterdir()):
        header = pydicom.dcmread(path)
        header.SpecificCharacterSet = "ISO_IR 100"  # Latin-1, where the object is UTF-8
        for keyword, value in values.items():
            setattr(header, keyword, value)
        (tmp_path / "s").mkdir(exist_ok=True)
        header.save_as(tmp_path / "s" / path.name)
    native = opened(tmp_path / "s")
    fill(native)
    write_segmentation(tmp_path / "seg.dcm", native, MAKER)
    whole = highdicom.seg.segread(tmp_path / "seg.dcm")
    source = pydicom.dcmread(native.sources[0])
    different = [keyword for keyword in (*values, *kept) if whole.get(keyword) != source.get(keyword)]
    assert different == []
    assert str(whole.OtherPatientNames[1]) == "Weiß^Zoë"
    assert whole.ProcedureCodeSequence[0].CodeMeaning == "é ProcedureCodeSequence"
    assert native.notes == []


def test_what_cannot_be_read_is_left_out_and_said(plain: Path, tmp_path: Path) -> None:
    """A number of one byte too many is no reason to give no segmentation."""
    for path in sorted(plain.iterdir()):
        header = pydicom.dcmread(path)
        header.PregnancyStatus, header.PatientAge = 4, "031Y"
        (tmp_path / "s").mkdir(exist_ok=True)
        header.save_as(tmp_path / "s" / path.name)
        data = (tmp_path / "s" / path.name).read_bytes()
        right, wrong = (b"\x10\x00\xc0\x21" + rest for rest in (b"\2\0\0\0\4\0", b"\3\0\0\0\4\0\0"))
        assert data.count(right) == 1
        (tmp_path / "s" / path.name).write_bytes(data.replace(right, wrong))
    native = opened(tmp_path / "s")
    fill(native)
    write_segmentation(tmp_path / "seg.dcm", native, MAKER)
    whole = pydicom.dcmread(tmp_path / "seg.dcm")
    assert "PregnancyStatus" not in whole
    assert whole.PatientAge == "031Y"
    assert native.notes == ["PregnancyStatus: not readable, and not copied into the segmentation"]
