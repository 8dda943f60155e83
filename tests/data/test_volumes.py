from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from sdseg.data.volumes import (
    is_image,
    is_volume,
    read_geometry,
    read_image,
    read_labels,
    read_mask,
    read_volume,
    write_image,
    write_volume,
)
from sdseg.errors import UserError
from sdseg.tensors import AnyArray
from tests.data.test_geometry import AXCODES, affine_of
from tests.raw_files import LPS, encode, save

RGB = np.random.default_rng(0).integers(0, 256, (11, 17, 3), dtype=np.uint8)
GREY = np.random.default_rng(1).integers(0, 256, (11, 17), dtype=np.uint8)
CT = np.random.default_rng(2).integers(-1024, 3000, (5, 6, 7)).astype(np.int16)


def bgr(pixels: AnyArray) -> AnyArray:
    return pixels[..., ::-1]


# Images


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".PNG"])
def test_lossless_images_come_back_as_they_were(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "mit Leer zeichen" / f"Bäuche 腹部{suffix}"
    encode(path, bgr(RGB))
    np.testing.assert_array_equal(read_image(path), RGB)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_written_images_come_back_as_they_were(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / "ä b" / f"colour{suffix}", RGB)
    write_image(tmp_path / "ä b" / f"grey{suffix}", GREY)
    np.testing.assert_array_equal(read_image(tmp_path / "ä b" / f"colour{suffix}"), RGB)
    np.testing.assert_array_equal(read_mask(tmp_path / "ä b" / f"grey{suffix}"), GREY)


def test_jpeg_is_close_to_what_was_written(tmp_path: Path) -> None:
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    write_image(tmp_path / "a.jpg", smooth)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg"), smooth, atol=3)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    path = encode(tmp_path / "grey.png", GREY)
    np.testing.assert_array_equal(read_image(path), np.repeat(GREY[..., None], 3, axis=2))


def test_transparency_is_dropped(tmp_path: Path) -> None:
    path = encode(tmp_path / "alpha.png", np.dstack([bgr(RGB), GREY]))
    np.testing.assert_array_equal(read_image(path), RGB)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_become_8_by_the_whole_range(tmp_path: Path, suffix: str) -> None:
    deep = bgr(RGB).astype(np.uint16) * 257
    np.testing.assert_array_equal(read_image(encode(tmp_path / f"deep{suffix}", deep)), RGB)
    np.testing.assert_array_equal(read_mask(encode(tmp_path / f"mask{suffix}", GREY.astype(np.uint16) * 257)), GREY)


def test_16_bit_masks_of_small_values_keep_them(tmp_path: Path) -> None:
    path = encode(tmp_path / "mask.png", (GREY % 3).astype(np.uint16))
    np.testing.assert_array_equal(read_mask(path), GREY % 3)


@pytest.mark.parametrize(("tag", "turn"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_the_cameras_orientation_tag_is_applied(tmp_path: Path, tag: int, turn: int) -> None:
    picture = np.zeros((16, 32, 3), np.uint8)
    picture[:8, :8] = 255
    plain = encode(tmp_path / "plain.jpg", picture).read_bytes()
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, tag, 0, 0)
    tagged = tmp_path / "tagged.jpg"
    tagged.write_bytes(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:])
    expected = np.rot90(read_image(tmp_path / "plain.jpg"), turn)
    np.testing.assert_array_equal(read_image(tagged), expected)
    np.testing.assert_allclose(read_mask(tagged), expected[..., 0], atol=2)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_truncated_images_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = encode(tmp_path / f"a{suffix}", RGB.repeat(8, axis=0).repeat(8, axis=1))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    for read in (read_image, read_mask):
        with pytest.raises(UserError, match=rf"(?s)not a readable image.*where: .*a\{suffix}.*remedy"):
            read(path)


def test_a_jpeg_without_its_end_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.jpg", RGB)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UserError, match="truncated"):
        read_image(path)


def test_other_files_are_no_images(tmp_path: Path) -> None:
    page = tmp_path / "login.png"
    page.write_text("<html>please log in</html>")
    empty = tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(UserError, match="not a readable image"):
        read_image(page)
    with pytest.raises(UserError, match="the file is empty"):
        read_image(empty)
    with pytest.raises(UserError, match="the file is missing"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_image(tmp_path)


def test_tiffs_of_several_pages_or_of_floats_are_refused(tmp_path: Path) -> None:
    done, data = cv2.imencodemulti(".tiff", [RGB, RGB])
    assert done
    (tmp_path / "pages.tiff").write_bytes(data.tobytes())
    with pytest.raises(UserError, match="TIFF of 2 pages"):
        read_image(tmp_path / "pages.tiff")
    with pytest.raises(UserError, match="pixels of type float32"):
        read_image(encode(tmp_path / "float.tiff", RGB.astype(np.float32)))


def test_an_unknown_image_format_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot encode an image as '\.xyz'"):
        write_image(tmp_path / "a.xyz", RGB)
    assert not list(tmp_path.iterdir())


def test_names_tell_images_from_volumes() -> None:
    assert is_image(Path("a.JPEG"))
    assert not is_image(Path("a.nii.gz"))
    assert is_volume(Path("a.b.nii.GZ"))
    assert is_volume(Path("a.nii"))
    assert not is_volume(Path("a.gz"))


# Volumes


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
    np.testing.assert_array_equal(geometry.to_native(voxels), np.rint(CT * 0.5 - 100.0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64, ">i2"])
def test_every_number_type_becomes_hounsfield_units(tmp_path: Path, dtype: Any) -> None:
    values = np.arange(60).reshape(3, 4, 5).astype(dtype)
    voxels, geometry = read_volume(save(tmp_path / "a.nii", values))
    assert voxels.dtype == np.int16
    np.testing.assert_array_equal(geometry.to_native(voxels), values)


def test_values_beyond_16_bits_are_clipped_and_fractions_rounded(tmp_path: Path) -> None:
    values = np.array([-1e6, -1000.4, 0.6, 1e6], np.float32).reshape(1, 2, 2)
    voxels, _ = read_volume(save(tmp_path / "a.nii", values, np.eye(4)))
    assert voxels.ravel().tolist() == [-32768, -1000, 1, 32767]


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
    with pytest.raises(UserError, match="normalised, where Hounsfield units are expected"):
        read_volume(save(tmp_path / "a.nii", values))


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
    with pytest.raises(UserError, match=r"(?s)(cannot be read|file is empty).*where: .*a\.nii"):
        read_volume(path)


def test_other_files_are_no_volumes(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_text("<html>please log in</html>")
    for read in (read_volume, read_labels, read_geometry):
        with pytest.raises(UserError, match="cannot be read"):
            read(tmp_path / "a.nii.gz")
        with pytest.raises(UserError, match="the file is missing"):
            read(tmp_path / "b.nii.gz")
    nib.save(nib.Spm2AnalyzeImage(CT, np.eye(4)), tmp_path / "old.img")
    with pytest.raises(UserError, match="not NIfTI"):
        read_geometry(tmp_path / "old.hdr")


def test_colour_voxels_and_flat_affines_are_refused(tmp_path: Path) -> None:
    colour = np.zeros((3, 3, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(UserError, match="numbers are expected"):
        read_volume(save(tmp_path / "colour.nii", colour))
    image = nib.Nifti1Image(CT, None)
    image.header["srow_x"], image.header["srow_y"], image.header["srow_z"] = [1, 0, 0, 0], [2, 0, 0, 0], [0, 0, 1, 0]
    image.header["sform_code"] = 1
    path = tmp_path / "flat.nii"
    path.write_bytes(image.header.binaryblock + b"\0" * 4 + CT.tobytes(order="F"))
    with pytest.raises(UserError, match="affine places all voxels in one plane"):
        read_geometry(path)


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
