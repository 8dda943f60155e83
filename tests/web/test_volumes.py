"""Volumes as the page reads them, and masks as it saves them: those of Python, of every kind of file."""

from __future__ import annotations

import gzip
import locale
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless

from sdseg.config.shape import Plane
from sdseg.core.array_types import AnyArray
from sdseg.data.slicing import along_slices, from_slices, to_slices
from sdseg.io.geometry import Geometry
from sdseg.io.volume_warnings import odd_spacing
from sdseg.io.volumes import read_volume, write_volume
from tests.helpers.page_readers import read_as_the_page
from tests.helpers.raw_files import write_series

SHAPE = (7, 5, 4)
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
TYPES = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64")
FIELDS = ("dim", "pixdim", "xyzt_units", "qform_code", "sform_code", "qoffset_x", "qoffset_y", "qoffset_z")
TURNS = ("RAS", "LPS", "LAS", "SAR", "PIR", "ASL")
Results = dict[str, dict[str, Any]]
Read = tuple[dict[str, list[Path]], Results, Path]  # files, what the page says of them, and where its arrays lie


def _voxels(kind: str = "int16") -> AnyArray:
    random = np.random.default_rng(0)
    if kind.startswith("float"):
        return (random.standard_normal(SHAPE) * 900).astype(kind)
    return random.integers(0 if kind.startswith("u") else -100, 100, SHAPE).astype(kind)


def _rotation(*angles: float) -> AnyArray:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        one, other = [place for place in range(3) if place != axis]
        turn[[one, other, one, other], [one, other, other, one]] = (
            np.cos(angle),
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
        )
        matrix = matrix @ turn
    return matrix


def _affine(codes: str = "LPS", angles: tuple[float, float, float] = (0, 0, 0), shear: float = 0.0) -> AnyArray:
    axes = np.zeros((3, 3))
    for column, code in enumerate(codes):
        axes["LRPAIS".index(code) // 2, column] = 1.0 if code in "RAS" else -1.0
    affine = np.eye(4)
    affine[:3, :3] = _rotation(*angles) @ axes @ np.diag([0.7, 1.25, 3.0])
    affine[:3, 2] += shear * affine[:3, 1]
    affine[:3, 3] = (-11.5, 20.25, 300.125)
    return affine


def _images() -> Iterator[tuple[str, nib.Nifti1Image]]:
    for kind in TYPES:
        yield f"{kind}.nii", nib.Nifti1Image(_voxels(kind), _affine())
    for codes in TURNS:
        yield f"{codes}.nii.gz", nib.Nifti1Image(_voxels(), _affine(codes))
        yield f"{codes} oblique.nii", nib.Nifti1Image(_voxels(), _affine(codes, (0.3, -0.2, 0.4)))
    for name, scale in (("tiny", 0.001), ("coarse", 31.25)):
        yield f"{name}.nii", nib.Nifti1Image(_voxels(), _affine("SAR") * np.array([scale, scale, scale, 1.0]))
    yield "sheared.nii", nib.Nifti1Image(_voxels(), _affine("LPS", (0.1, 0.1, 0), 0.4))
    yield "long.nii", nib.Nifti1Image(_voxels("int64"), _affine(), dtype="int64")
    yield "second.nii.gz", nib.Nifti2Image(_voxels(), _affine("RAS", (0.2, 0, 0)))
    big = nib.Nifti1Image(_voxels(), _affine(), nib.Nifti1Header(endianness=">"))
    yield "big.nii", big
    yield "big second.nii", nib.Nifti2Image(_voxels("float32"), _affine(), nib.Nifti2Header(endianness=">"))
    for name, (slope, intercept) in {"scaled": (0.1, -7.3), "shifted": (1.0, -1024.0), "unscaled": (0.0, 5.0)}.items():
        image = nib.Nifti1Image(_voxels(), _affine())
        image.header.set_slope_inter(slope or None, intercept if slope else None)
        yield f"{name}.nii", image
    for sform, qform in ((1, 0), (0, 1), (0, 0), (2, 1), (4, 3)):
        image = nib.Nifti1Image(_voxels(), _affine("LAS", (0.1, 0.2, 0.3)))
        image.set_sform(_affine("LAS", (0.1, 0.2, 0.3)), sform)
        image.set_qform(_affine("RAS", (0.3, 0.1, 0.2)), qform)
        image.header.set_xyzt_units("micron" if qform == 3 else "mm", "sec")
        yield f"sform {sform} qform {qform}.nii.gz", image


def _write_volumes(folder: Path) -> dict[str, list[Path]]:
    folder.mkdir()
    cases = {}
    for name, image in _images():
        raw = np.asanyarray(image.dataobj)
        path = folder / name
        slope, intercept = image.header.get_slope_inter()
        nib.save(image, path)
        if slope is not None and (slope, intercept) != (1.0, 0.0):  # written as they are, with what scales them beside
            data = bytearray(path.read_bytes())
            data[112:120] = np.array([slope, intercept], "<f4").tobytes()
            data[352:] = np.asarray(raw, "<i2").tobytes(order="F")
            path.write_bytes(data)
        cases[name] = [path]
    packed = (folder / "int16.nii").read_bytes()
    (folder / "members.nii.gz").write_bytes(gzip.compress(packed[:500]) + gzip.compress(packed[500:]))
    return cases | {"members.nii.gz": [folder / "members.nii.gz"]}


def _write_series(folder: Path) -> dict[str, list[Path]]:
    voxels = _voxels()
    order = [f"{number:02d}.dcm" for number in (3, 0, 2, 1)]
    written = {
        "upright": write_series(folder / "upright", voxels),
        "shuffled": write_series(folder / "shuffled", voxels, names=order),
        "oblique": write_series(folder / "oblique", voxels, directions=_rotation(0.3, -0.2, 0.4)),
        "half": write_series(folder / "half", voxels),
        "twelve bits": write_series(folder / "twelve bits", np.abs(voxels)),
        "white": write_series(folder / "white", np.abs(voxels)),
        "runs": write_series(folder / "runs", voxels),
        "old": write_series(folder / "old", voxels),
        "deflated": write_series(folder / "deflated", voxels),
        "big endian": write_series(folder / "big endian", voxels),
    }

    def change(name: str, **tags: Any) -> None:
        for path in written[name].iterdir():
            dataset = pydicom.dcmread(path)
            for tag, value in tags.items():
                setattr(dataset, tag, value)
            if name == "runs":
                dataset.compress(RLELossless)
            if name == "deflated":
                dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
            if name == "big endian":
                pixels = dataset.pixel_array.astype(">i2").tobytes()
                dataset.file_meta.TransferSyntaxUID, dataset.PixelData = ExplicitVRBigEndian, pixels
                pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=False, force_encoding=True)
                continue
            dataset.save_as(path)
            if name == "old":  # without the preamble, its mark and the group before the header
                whole = pydicom.dcmread(path)
                bare = pydicom.Dataset({element.tag: element for element in whole})  # without preamble and file meta
                bare.save_as(path, implicit_vr=True, little_endian=True)

    change("half", RescaleSlope="0.5", RescaleIntercept="-10.25")
    change("twelve bits", BitsStored=12, HighBit=11, PixelRepresentation=0, RescaleIntercept="-1024")
    change("white", PhotometricInterpretation="MONOCHROME1", PixelRepresentation=0, BitsStored=12, HighBit=11)
    for name in ("runs", "old", "deflated", "big endian"):
        change(name)
    return {name: sorted(place.iterdir()) for name, place in (written | _packed(folder)).items()}


def _packed(folder: Path) -> dict[str, Path]:
    """Series packed by GDCM as lossless JPEG and JPEG 2000."""
    voxels = np.random.default_rng(0).integers(0, 3000, (32, 32, 2)).astype(np.uint16)
    for name in ("JPEG", "JPEG2000"):
        (folder / name).mkdir()
        for path in sorted(write_series(folder / f"for {name}", voxels).iterdir()):
            header = pydicom.dcmread(path)
            image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels[:, :, int(path.stem)].T)[None])
            for tag, value in (
                ("0020|0032", header.ImagePositionPatient),
                ("0020|0037", header.ImageOrientationPatient),
            ):
                image.SetMetaData(tag, "\\".join(map(str, value)))
            image.SetMetaData("0008|0060", "CT")
            writer = SimpleITK.ImageFileWriter()
            writer.SetImageIO("GDCMImageIO")
            writer.SetUseCompression(True)
            writer.SetCompressor(name)
            writer.SetFileName(str(folder / name / path.name))
            before = locale.setlocale(locale.LC_ALL)
            writer.Execute(image)
            locale.setlocale(locale.LC_ALL, before)  # the writer leaves the C locale behind
            packed = pydicom.dcmread(folder / name / path.name)
            packed.SeriesInstanceUID, packed.RescaleIntercept, packed.PixelSpacing = "1.2.3", "-1024", [2.0, 3.0]
            packed.save_as(folder / name / path.name)
    return {name: folder / name for name in ("JPEG", "JPEG2000")}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Read:
    place = tmp_path_factory.mktemp("volumes")
    (place / "series").mkdir()
    cases = _write_volumes(place / "nifti") | _write_series(place / "series")
    zipped = place / "zipped.zip"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in cases["oblique"]:
            archive.write(path, f"patient/series/{path.name}")
        archive.writestr("__MACOSX/._000.dcm", "nothing")
        archive.writestr("notes.txt", "nothing")
    results = read_as_the_page(cases | {"zipped": [zipped]}, place / "read")
    return cases, results, place / "read"


def _read(files: list[Path]) -> tuple[AnyArray, Geometry]:
    if files[0].parent.name == "runs":  # which GDCM does not read of images this small
        files = [files[0].parent.with_name("upright") / files[0].name, files[1]]
    return read_volume(files[0] if len(files) == 1 else files[0].parent)


def _compare(files: list[Path], result: dict[str, Any], folder: Path, place: Path, planes: Sequence[Plane]) -> None:
    assert "inputs" in result, result
    (read,) = result["inputs"]
    canonical, geometry = _read(files)
    assert tuple(read["shape"]) == geometry.shape
    assert read["notes"] == list(odd_spacing(geometry))
    np.testing.assert_allclose(read["affine"], geometry.matrix, rtol=0, atol=1e-6)
    np.testing.assert_allclose(read["millilitres"], abs(np.linalg.det(geometry.matrix[:3, :3])) / 1000, rtol=1e-6)
    for plane in planes:
        cut, expected = read["planes"][plane], to_slices(canonical, plane)
        assert cut["shape"] == list(expected.shape)
        slices = np.fromfile(folder / cut["data"], np.float32).reshape(expected.shape)
        np.testing.assert_array_equal(slices, expected.astype(np.float32))
        np.testing.assert_allclose(cut["spacing"], along_slices(geometry.spacing, plane), rtol=1e-7)
        # The mask that the page saved, and the same mask saved by Python.
        pixels = np.arange(expected.shape[1] * expected.shape[2]).reshape(expected.shape[1:])
        mask = np.stack([(pixels + 7 * index) % 5 for index in range(len(expected))]).astype(np.uint8)
        write_volume(from_slices(mask, plane), geometry, place / "python.nii.gz")
        _compare_saved(folder / cut["saved"], place / "python.nii.gz", sheared=files[0].name == "sheared.nii")


def _compare_saved(ours: Path, theirs: Path, *, sheared: bool) -> None:
    read, wanted = (cast("nib.Nifti1Image", nib.load(path)) for path in (ours, theirs))
    assert read.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(read.dataobj), np.asarray(wanted.dataobj))
    np.testing.assert_allclose(read.affine, wanted.affine, rtol=0, atol=1e-5)
    np.testing.assert_allclose(read.get_qform(), wanted.get_qform(), rtol=0, atol=1e-4)
    for field in FIELDS:
        np.testing.assert_allclose(read.header[field], wanted.header[field], rtol=0, atol=1e-5, err_msg=field)
    if not sheared:  # which SimpleITK does not take
        one, other = SimpleITK.ReadImage(str(ours)), SimpleITK.ReadImage(str(theirs))
        for ask in ("GetOrigin", "GetSpacing", "GetDirection", "GetSize"):
            np.testing.assert_allclose(getattr(one, ask)(), getattr(other, ask)(), atol=1e-4)


def test_slices_grid_and_saved_masks_are_those_of_python(volumes: Read, tmp_path: Path) -> None:
    cases, results, folder = volumes
    wrong = []
    for name, files in cases.items():
        try:
            _compare(files, results[name], folder, tmp_path, PLANES if "oblique" in name else PLANES[:1])
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
    assert not wrong, "\n".join(wrong)


def test_a_zip_gives_what_its_folder_gives(volumes: Read, tmp_path: Path) -> None:
    cases, results, folder = volumes
    assert results["zipped"]["inputs"][0]["name"] == "zipped"
    _compare(cases["oblique"], results["zipped"], folder, tmp_path, PLANES)


def test_real_files(samples: Path, tmp_path: Path) -> None:
    series = sorted((samples / "dicom_ct").iterdir())
    knee = samples / "knee_mr" / "imagesTr" / "knee_001_0000.nii.gz"
    results = read_as_the_page({"ct": series, "mr": [knee]}, tmp_path / "read")
    assert results["ct"]["inputs"][0]["modality"] == "ct"
    _compare(series, results["ct"], tmp_path / "read", tmp_path, PLANES[:1])
    _compare([knee], results["mr"], tmp_path / "read", tmp_path, PLANES[:1])
