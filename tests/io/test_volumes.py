from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from sdseg.artifacts.image_contract import ImageContract
from sdseg.core.errors import UserError
from sdseg.io.volumes import (
    is_volume,
    range_in_header,
    read_geometry,
    read_labels,
    read_volume,
    to_stored,
    write_volume,
)
from tests.helpers.raw_files import LPS, save
from tests.io.test_geometry import AXCODES, affine_of

CT = np.random.default_rng(2).integers(-1024, 3000, (5, 6, 7)).astype(np.int16)

HOUNSFIELD = ImageContract(modality="ct", size=16, channels=1, window=(-175.0, 250.0))


def test_names_of_volumes() -> None:
    assert is_volume(Path("a.b.nii.GZ"))
    assert is_volume(Path("a.nii"))
    assert not is_volume(Path("a.gz"))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_volumes_agree_with_nibabels_canonical_form(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / "ein Bauch 腹" / f"ct{suffix}", CT, LPS)
    voxels, geometry = read_volume(path)
    canonical = nib.as_closest_canonical(nib.load(path))
    assert voxels.dtype == np.int16
    np.testing.assert_array_equal(voxels, np.asanyarray(canonical.dataobj))
    assert geometry == read_geometry(path)
    assert (geometry.shape, geometry.axcodes, geometry.spacing) == ((5, 6, 7), "LPS", (2.0, 3.0, 5.0))


def test_stored_scaling_is_applied(tmp_path: Path) -> None:
    path = save(tmp_path / "scaled.nii", CT)
    data = bytearray(path.read_bytes())
    data[112:120] = struct.pack("<ff", 0.5, -100.0)  # scl_slope and scl_inter of the format
    path.write_bytes(data)
    voxels, geometry = read_volume(path)
    np.testing.assert_array_equal(geometry.to_native(voxels), CT * np.float32(0.5) - 100)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64, ">i2"])
def test_every_number_type_becomes_hounsfield_units(tmp_path: Path, dtype: Any) -> None:
    values = np.arange(60).reshape(3, 4, 5).astype(dtype)
    raw, geometry = read_volume(save(tmp_path / "a.nii", values))
    voxels, lost = to_stored(raw, HOUNSFIELD, None)
    assert (voxels.dtype, lost) == (np.int16, [])
    np.testing.assert_array_equal(geometry.to_native(voxels), values)


def test_values_beyond_16_bits_are_clipped_and_fractions_rounded(tmp_path: Path) -> None:
    values = np.array([-1e6, -1000.4, 0.6, 1e6], np.float32).reshape(1, 2, 2)
    raw, _ = read_volume(save(tmp_path / "a.nii", values, np.eye(4)))
    voxels, lost = to_stored(raw, HOUNSFIELD, None)
    assert voxels.ravel().tolist() == [-32768, -1000, 1, 32767]
    assert lost == [
        "values with fractions are rounded to whole numbers",
        "values from -1e+06 to 1e+06 are clipped to -32768 to 32767",
    ]


def test_nifti_2_and_several_gzip_members_are_read(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(CT, LPS), tmp_path / "two.nii")
    voxels, geometry = read_volume(tmp_path / "two.nii")
    np.testing.assert_array_equal(geometry.to_native(voxels), CT)
    import gzip

    data = (tmp_path / "two.nii").read_bytes()
    (tmp_path / "parts.nii.gz").write_bytes(gzip.compress(data[:600]) + gzip.compress(data[600:]))
    np.testing.assert_array_equal(read_volume(tmp_path / "parts.nii.gz")[0], voxels)


def test_labels_may_be_stored_as_floats(tmp_path: Path) -> None:
    values = (np.abs(CT) % 14).astype(np.float64)
    labels, geometry = read_labels(save(tmp_path / "a.nii.gz", values))
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(geometry.to_native(labels), values)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4, 2), (4, 4, 4, 1)])
@pytest.mark.parametrize("read", [read_volume, read_labels, read_geometry])
def test_only_three_axes_are_taken(tmp_path: Path, shape: tuple[int, ...], read: Any) -> None:
    path = save(tmp_path / "a.nii.gz", np.zeros(shape, np.int16))
    with pytest.raises(UserError, match=rf"(?s)a {len(shape)}-D volume of shape .*where: .*a.nii.gz"):
        read(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("read", [read_volume, read_labels])
def test_not_a_number_and_infinity_are_refused(tmp_path: Path, value: float, read: Any) -> None:
    values = np.zeros((3, 3, 3), np.float32)
    values[1, 1, :2] = value
    with pytest.raises(UserError, match=r"(?s)2 voxels are NaN or infinite.*where: .*a\.nii"):
        read(save(tmp_path / "a.nii", values))


def test_normalised_volumes_are_refused(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((3, 3, 3)).astype(np.float32)
    raw, _ = read_volume(save(tmp_path / "a.nii", values))
    with pytest.raises(UserError, match=r"normalised, where values of a window from -175 to 250 are expected"):
        to_stored(raw, HOUNSFIELD, None)
    voxels, lost = to_stored(raw, HOUNSFIELD.model_copy(update={"window": (0.0, 1.0), "dtype": "float32"}), None)
    np.testing.assert_array_equal(voxels, raw)
    assert lost == []


def test_headers_tell_what_16_bits_hold(tmp_path: Path) -> None:
    for dtype, known in (("int16", True), ("uint8", True), ("uint16", False), ("float32", False)):
        found = range_in_header(save(tmp_path / f"{dtype}.nii", np.zeros((2, 2, 2), dtype)))
        assert (found is not None) == known
    path = save(tmp_path / "scaled.nii.gz", np.array([0.25, 7.5], np.float32).reshape(2, 1, 1))
    image = nib.load(path)
    image.header.set_data_dtype(np.int16)  # nibabel writes a slope
    nib.save(image, path)
    assert range_in_header(path) is None


@pytest.mark.parametrize(
    ("value", "message"), [(0.5, "not whole numbers"), (-1, "from -1 to 0"), (300, "from 0 to 300")]
)
def test_labels_that_are_no_ids_are_refused(tmp_path: Path, value: float, message: str) -> None:
    values = np.zeros((3, 3, 3), np.float32)
    values[0, 0, 0] = value
    with pytest.raises(UserError, match=message):
        read_labels(save(tmp_path / "a.nii", values))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.99])
def test_truncated_volumes_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = save(tmp_path / f"a{suffix}", np.random.default_rng(0).integers(0, 999, (16, 16, 16)).astype(np.int16))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"(?s)(cannot be read|file is empty|not a NIfTI file).*where: .*a\.nii"):
        read_volume(path)


def test_other_files_are_no_volumes(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_text("<html>please log in</html>")
    for read in (read_volume, read_labels, read_geometry):
        with pytest.raises(UserError, match=r"cannot be read|not a NIfTI file"):
            read(tmp_path / "a.nii.gz")
        with pytest.raises(UserError, match="the file is missing"):
            read(tmp_path / "b.nii.gz")
    nib.save(nib.Spm2AnalyzeImage(CT, np.eye(4)), tmp_path / "old.img")
    with pytest.raises(UserError, match="not NIfTI"):
        read_geometry(tmp_path / "old.hdr")


@pytest.mark.parametrize("place", [70, 108, 252, 256, 280, 344])  # type, offset, codes, quaternion, affine, mark
def test_headers_of_nonsense_are_refused_or_read(tmp_path: Path, place: int) -> None:
    whole, told = save(tmp_path / "a.nii", CT).read_bytes(), list[str]()
    for nonsense in (b"\x80\xbf\x80\xbf", b"\xff" * 4, bytes(4), struct.pack("<f", np.inf), struct.pack("<f", 1e38)):
        (tmp_path / "a.nii").write_bytes(whole[:place] + nonsense + whole[place + 4 :])
        for read in (read_geometry, read_volume, read_labels):
            try:
                read(tmp_path / "a.nii")
            except UserError as error:
                told.append(str(error))
    assert all("a.nii" in message for message in told)


def test_colour_voxels_and_flat_affines_are_refused(tmp_path: Path) -> None:
    colour = np.zeros((3, 3, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(UserError, match="numbers are expected"):
        read_volume(save(tmp_path / "colour.nii", colour))
    image = nib.Nifti1Image(CT, None)
    image.header["sform_code"] = 1
    path = tmp_path / "flat.nii"
    for rows, message in (
        (([1, 1, 0, 0], [2, 2, 0, 0], [0, 0, 1, 0]), "affine places all voxels in one plane"),
        (([1, 0, 0, 0], [2, 0, 0, 0], [0, 0, 1, 0]), "voxels lie 0 mm apart: a spacing or a direction is zero"),
        (([np.nan, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]), "of its voxels is NaN or infinite"),
    ):
        for name, row in zip(("srow_x", "srow_y", "srow_z"), rows, strict=True):
            image.header[name] = row
        path.write_bytes(image.header.binaryblock + b"\0" * 4 + CT.tobytes(order="F"))
        for read in (read_geometry, read_volume):
            with pytest.raises(UserError, match=message):
                read(path)


# Writing back


@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (2, 0), (0, 1), (4, 3)])
def test_a_mask_returns_to_the_grid_of_its_image(tmp_path: Path, sform: int, qform: int) -> None:
    affine = affine_of("PIR", degrees=7)
    source = nib.Nifti1Image(CT, affine)
    source.set_sform(affine, code=sform)
    source.set_qform(affine, code=qform)
    source.header.set_xyzt_units("mm", "sec")
    nib.save(source, tmp_path / "ct.nii.gz")
    voxels, geometry = read_volume(tmp_path / "ct.nii.gz")
    write_volume((voxels > 500).astype(np.uint8), geometry, tmp_path / "out" / "mäsk.nii.gz")
    image, mask = nib.load(tmp_path / "ct.nii.gz"), nib.load(tmp_path / "out" / "mäsk.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj), CT > 500)
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.affine, image.affine)
    for key in ("sform_code", "qform_code", "xyzt_units"):
        assert mask.header[key] == image.header[key], key
    np.testing.assert_allclose(mask.get_qform(), image.get_qform(), atol=1e-5)


def test_same_mask_same_bytes(tmp_path: Path) -> None:
    voxels, geometry = read_volume(save(tmp_path / "ct.nii", CT))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(voxels, geometry, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@settings(max_examples=60, deadline=None)
@given(
    axcodes=st.sampled_from(AXCODES),
    degrees=st.floats(0, 180),
    spacing=st.tuples(*[st.floats(0.1, 6.0)] * 3),
)
def test_simpleitk_sees_the_same_physical_points(
    tmp_path_factory: pytest.TempPathFactory, axcodes: str, degrees: float, spacing: tuple[float, float, float]
) -> None:
    folder = tmp_path_factory.mktemp("itk")
    affine = affine_of(axcodes, spacing, degrees)
    voxels, geometry = read_volume(save(folder / "ct.nii", CT, affine))
    write_volume(voxels, geometry, folder / "again.nii.gz")
    image = sitk.ReadImage(str(folder / "again.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), CT)
    for corner in itertools.product(*((0, length - 1) for length in CT.shape)):
        lps = np.array(image.TransformIndexToPhysicalPoint(corner))
        ras = (affine @ [*corner, 1.0])[:3]
        np.testing.assert_allclose(lps * [-1, -1, 1], ras, atol=2e-3)


def test_real_volumes_round_trip(samples: Path, tmp_path: Path) -> None:
    for path in sorted((samples / "btcv").rglob("*.nii.gz")):
        voxels, geometry = read_volume(path)
        write_volume(voxels, geometry, tmp_path / path.name)
        ours, theirs = sitk.ReadImage(str(tmp_path / path.name)), sitk.ReadImage(str(path))
        np.testing.assert_array_equal(sitk.GetArrayViewFromImage(ours), sitk.GetArrayViewFromImage(theirs))
        for index in ((0, 0, 0), tuple(length - 1 for length in theirs.GetSize())):
            np.testing.assert_allclose(
                ours.TransformIndexToPhysicalPoint(index), theirs.TransformIndexToPhysicalPoint(index), atol=1e-3
            )


def test_an_unknown_code_of_units_does_no_harm(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", CT)
    content = bytearray(path.read_bytes())
    content[123] = 6  # xyzt_units of the format: no such length
    path.write_bytes(content)
    assert read_volume(path)[1].units == ("mm", "unknown")
