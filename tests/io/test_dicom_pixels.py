"""Pixels of a slice as SimpleITK gives them, values and number type, whoever decodes them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.io.dicom_pixels import read_pixels

CT, MR, PET = (f"1.2.840.10008.5.1.4.1.1.{ending}" for ending in ("2", "4", "128"))
LAYOUTS = [(16, False, 12), (16, False, 16), (16, True, 16), (16, True, 12), (8, False, 8)]  # allocated, signed, stored
RESCALINGS = [(None, None), ("1", "-1024"), ("2", "-1024"), ("0.5", None), ("1.7", "-3.25"), ("100", "-5"), (None, "7")]


def write_slice(path: Path, bits: int, signed: bool, stored: int, rescaling: tuple[str | None, str | None]) -> Dataset:
    """Any bits at all, those above the stored ones too."""
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID, one.SOPInstanceUID, one.Modality = CT, "1.2.3", "CT"
    one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = 6, 5, 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = bits, stored, stored - 1, int(signed)
    one.ImagePositionPatient, one.ImageOrientationPatient, one.PixelSpacing = [0, 0, 0], [1, 0, 0, 0, 1, 0], [1, 1]
    if rescaling[0] is not None:
        one.RescaleSlope = rescaling[0]
    if rescaling[1] is not None:
        one.RescaleIntercept = rescaling[1]
    one.PixelData = np.random.default_rng(0).integers(0, 2**bits, 30).astype(f"u{bits // 8}").tobytes()
    one.save_as(path, enforce_file_format=True)
    return one


def by_itk(path: Path) -> AnyArray:
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return np.asarray(SimpleITK.GetArrayFromImage(reader.Execute())[0])


def assert_as_itk(path: Path) -> None:
    ours, theirs = read_pixels(path), by_itk(path)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("rescaling", RESCALINGS)
def test_whatever_the_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rescaling: tuple[str | None, str | None]
) -> None:
    for number, layout in enumerate(LAYOUTS):
        write_slice(tmp_path / f"{number}.dcm", *layout, rescaling)
        assert_as_itk(tmp_path / f"{number}.dcm")
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    assert read_pixels(tmp_path / "0.dcm").shape == (6, 5)  # not needed for any of these


def test_other_modalities_and_a_lossless_compression(tmp_path: Path) -> None:
    for kind in (MR, PET):
        one = write_slice(tmp_path / "a.dcm", 16, False, 12, ("0.5", "3"))
        one.SOPClassUID = kind
        one.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        assert_as_itk(tmp_path / "a.dcm")
    one = write_slice(tmp_path / "b.dcm", 16, True, 16, ("1", "-1024"))
    expected = by_itk(tmp_path / "b.dcm")
    one.compress(RLELossless)
    one.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_pixels(tmp_path / "b.dcm"), expected)


def test_what_pydicom_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inverted grey values, here: GDCM turns them about. Without it one message names the extra."""
    one = write_slice(tmp_path / "a.dcm", 16, False, 12, ("1", "-1024"))
    one.PhotometricInterpretation = "MONOCHROME1"
    one.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert_as_itk(tmp_path / "a.dcm")
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UserError, match=r"a\.dcm: a DICOM file of this kind .* needs the package SimpleITK") as caught:
        read_pixels(tmp_path / "a.dcm")
    assert caught.value.remedy == "pip install 'sdseg[formats]'"
