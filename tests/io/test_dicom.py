"""DICOM series: the same volume as its NIfTI twin, and one clear error for a folder that is no whole series."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK

from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.io.dicom_series import find_series, one_series
from sdseg.io.geometry import check_same_grid
from sdseg.io.volumes import read_geometry, read_labels, read_volume, read_volume_noted, write_volume
from tests.helpers.raw_files import save, write_series

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@pytest.fixture
def voxels() -> AnyArray:
    """[column,row,slice] in Hounsfield units; no two slices alike."""
    return np.random.default_rng(0).integers(-1000, 1500, (7, 6, 5)).astype(np.int16)


@pytest.fixture
def series(tmp_path: Path, voxels: AnyArray) -> Path:
    return write_series(tmp_path / "serie é 1", voxels)


# What is read


def test_the_same_volume_as_its_nifti_twin(samples: Path) -> None:
    folder, twin = samples / "dicom_ct", samples / "btcv" / "RawData" / "Training" / "img" / "img0005.nii.gz"
    (found, geometry), (expected, wanted) = read_volume(folder), read_volume(twin)
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, found.shape) == (np.int16, (512, 512, 20))
    np.testing.assert_allclose(geometry.matrix, wanted.matrix, atol=1e-6)
    assert (geometry.shape, geometry.axcodes, read_geometry(folder)) == (wanted.shape, "LPS", geometry)
    np.testing.assert_allclose(geometry.spacing, wanted.spacing)


def test_physical_points_are_those_of_simpleitk(samples: Path) -> None:
    folder = samples / "dicom_ct"
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    theirs, geometry = reader.Execute(), read_geometry(folder)
    for index in [(0, 0, 0), (511, 0, 3), (17, 300, 19)]:
        left_back_head = np.array(theirs.TransformContinuousIndexToPhysicalPoint([float(place) for place in index]))
        np.testing.assert_allclose(geometry.matrix[:3] @ [*index, 1], LPS_TO_RAS @ left_back_head, atol=1e-6)


def test_slices_are_ordered_by_their_place(tmp_path: Path, voxels: AnyArray) -> None:
    folder = write_series(tmp_path / "s", voxels, names=["4.dcm", "a", "10.dcm", "2.IMA", "1.dcm"])
    native, geometry = read_volume(folder)
    np.testing.assert_array_equal(geometry.to_native(native), voxels)
    assert geometry.axcodes == "LPS"
    assert geometry.spacing == (2.0, 3.0, 5.0)
    np.testing.assert_allclose(geometry.matrix[:3, 3], [-10, 20, -30])


def test_feet_first_and_sagittal_series_are_turned(tmp_path: Path, voxels: AnyArray) -> None:
    # Rows run to the back, columns to the feet, slices to the right: -x of DICOM.
    directions = np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]])
    canonical, geometry = read_volume(write_series(tmp_path / "sagittal", voxels, directions=directions))
    assert geometry.axcodes == "PIR"
    np.testing.assert_array_equal(canonical, voxels.transpose(2, 0, 1)[:, ::-1, ::-1])


def test_a_tilted_gantry_gives_a_sheared_grid(tmp_path: Path, voxels: AnyArray) -> None:
    slope = np.deg2rad(20)
    directions = np.array([[1, 0, 0], [0, 1, np.sin(slope)], [0, 0, np.cos(slope)]])
    geometry = read_geometry(write_series(tmp_path / "tilted", voxels, directions=directions))
    corner = geometry.matrix[:3] @ [0, 0, 4, 1]
    np.testing.assert_allclose(corner, LPS_TO_RAS @ ([10, -20, -30] + directions[:, 2] * 20), atol=1e-4)


def test_each_slice_keeps_its_own_rescaling(tmp_path: Path, voxels: AnyArray) -> None:
    folder = write_series(tmp_path / "s", voxels[:, :, :3])
    write_series(tmp_path / "t", voxels[:, :, 3:], origin=(10.0, -20.0, -15.0), t0028_1052="-2048")
    for path in (tmp_path / "t").iterdir():
        shutil.copy(path, folder / f"t{path.name}")
    canonical, geometry = read_volume(folder)
    np.testing.assert_array_equal(geometry.to_native(canonical), voxels)


def test_other_files_beside_the_slices_do_not_disturb(series: Path, voxels: AnyArray) -> None:
    (series / "LIESMICH.txt").write_text("from the archive")
    (series / ".DS_Store").write_bytes(b"\0")
    (series / "thumbs").mkdir()
    assert read_geometry(series).shape == voxels.shape


def test_a_mask_written_on_the_grid_of_a_series_lies_on_it(series: Path, voxels: AnyArray, tmp_path: Path) -> None:
    canonical, geometry = read_volume(series)
    write_volume((canonical > 0).astype(np.uint8), geometry, tmp_path / "mask.nii.gz")
    mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "mask.nii.gz")))
    np.testing.assert_array_equal(mask.transpose(2, 1, 0), voxels > 0)
    assert check_same_grid(geometry, read_geometry(tmp_path / "mask.nii.gz")) is None


def test_a_label_stored_along_other_axes_fits(series: Path, voxels: AnyArray, tmp_path: Path) -> None:
    """Converters turn the rows of DICOM over; the label is the same one."""
    image, geometry = read_volume(series)
    canonical_affine = np.diag([2.0, 3.0, 5.0, 1.0])
    canonical_affine[:3, 3] = geometry.canonical_matrix[:3, 3]
    label = save(tmp_path / "ras.nii.gz", (image > 0).astype(np.uint8), canonical_affine)
    assert nib.aff2axcodes(nib.load(label).affine) == ("R", "A", "S")
    assert check_same_grid(geometry, read_geometry(label)) is None
    np.testing.assert_array_equal(read_labels(label)[0], image > 0)
    canonical_affine[0, 3] += 2
    moved = save(tmp_path / "moved.nii.gz", (image > 0).astype(np.uint8), canonical_affine)
    assert "affines of image and label differ" in str(check_same_grid(geometry, read_geometry(moved)))


# What is refused


def remove_slice(folder: Path) -> None:
    (folder / "002.dcm").unlink()


def double_slice(folder: Path) -> None:
    shutil.copy(folder / "002.dcm", folder / "copy.dcm")


def cut_header(folder: Path) -> None:
    (folder / "001.dcm").write_bytes((folder / "001.dcm").read_bytes()[:200])


def no_dicom(folder: Path) -> None:
    (folder / "001.dcm").write_bytes(b"<html>log in</html>")


def all_but_one(folder: Path) -> None:
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "notes.txt").touch()


def add(**changes: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        extra = write_series(folder.parent / "extra", np.zeros((7, 6, 1), np.int16), **changes)  # type: ignore[arg-type]
        shutil.copy(extra / "000.dcm", folder / "extra.dcm")

    return apply


ABOVE = (10.0, -20.0, -5.0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove_slice, r"001\.dcm and 003\.dcm lie 10 mm apart, the others 5: slices are missing between"),
        (double_slice, r"002\.dcm and copy\.dcm lie at the same place"),
        (add(origin=(10.0, -20.0, -7.0)), r"004\.dcm and extra\.dcm lie 3 mm apart, the others 5"),
        (add(origin=(10.0, -21.0, -5.0)), r"004\.dcm and extra\.dcm are shifted sideways"),
        (
            add(t0020_000e="1.2.3", t0008_103e="lung"),
            r"2 series in one folder:\n  - 'abdomen', 5 file.*\n  - 'lung', 1",
        ),
        (add(origin=ABOVE, spacing=(1.0, 1.0, 5.0)), r"1 of 6 slices differ from the others in size.*\n.*extra\.dcm"),
        (add(origin=ABOVE, directions=np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])), "1 of 6 slices differ"),
        (add(origin=ABOVE, t0008_0060="MR"), r"modality 'MR'; a dataset of 'modality: ct' is expected"),
        (cut_header, r"(?s)cannot be read: .*001\.dcm"),
        (no_dicom, r"(?s)cannot be read: not a DICOM file.*001\.dcm"),
        (all_but_one, "one slice; a volume has at least two"),
        (empty, "no DICOM files in the folder"),
    ],
)
def test_a_folder_that_is_no_whole_series_is_refused(series: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(series)
    with pytest.raises(UserError, match=message) as caught:
        read_geometry(series)
    assert str(series) in str(caught.value)


def test_damaged_pixels_are_named(series: Path) -> None:
    path = series / "003.dcm"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"(?s)truncated, or with a wrong header.* 32 bytes .*003\.dcm"):
        read_volume(series)


def test_damaged_compressed_pixels_are_named(series: Path) -> None:
    path = series / "003.dcm"
    found = pydicom.dcmread(path)
    found.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLSLossless
    found.PixelData = pydicom.encaps.encapsulate([b"no such stream" * 9])
    found.save_as(path)
    with pytest.raises(UserError, match=r"(?s)a DICOM file that cannot be read.*003\.dcm"):
        read_volume(series)


def edit(path: Path, **tags: object) -> None:
    found = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(found, name, value)
    found.save_as(path)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"PixelSpacing": [0, 2]}, "a pixel spacing of 0 and 2 mm"),
        ({"PixelSpacing": [3, -2]}, "a pixel spacing of 3 and -2 mm"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, r"directions of rows and columns \(0, 0, 0, 0, 0, 0\)"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "no two of length 1 at right angles"),
        ({"RescaleSlope": 0}, "a rescale slope of 0: every voxel would have one value"),
        ({"Rows": 0}, "an image of 0 rows and 7 columns"),
        ({"Rows": 65535, "Columns": 65535}, "it promises 65535 rows and 65535 columns"),
    ],
)
def test_headers_that_cannot_be_true(series: Path, tags: dict[str, object], message: str) -> None:
    for path in series.iterdir():
        edit(path, **tags)
    for read in (read_geometry, read_volume):
        with pytest.raises(UserError, match=rf"(?s){message}.*00.\.dcm.*replace the file by a whole copy"):
            read(series)


def test_what_prediction_leaves_out_preparation_leaves_out(series: Path, voxels: AnyArray, tmp_path: Path) -> None:
    own = {"t0020_000e": "1.2.826.0.1.3680043.2.1125.1", "t0008_0008": "ORIGINAL\\PRIMARY\\LOCALIZER"}
    write_series(series, np.zeros((9, 9, 1), np.int16), names=["scout.dcm"], **own)
    write_series(series, np.zeros((9, 9, 1), np.int16), names=["seg.dcm"], t0008_0060="SEG", t0020_000e="1.2.3")
    native, geometry, notes = read_volume_noted(series)
    np.testing.assert_array_equal(geometry.to_native(native), voxels)
    assert notes[0] == "left out, a localiser: scout.dcm"
    assert notes[1].endswith("SEG, not images of a patient")
    (one,) = find_series(sorted(series.iterdir())).series
    assert (one.files, one.notes) == (one_series(series).files, notes[:1])


def test_a_pipe_among_the_slices_is_told(series: Path) -> None:
    os.mkfifo(series / "zzz")
    with pytest.raises(UserError, match=r"(?s)a named pipe.*zzz"):
        read_volume(series)


def test_files_without_the_mark_of_dicom_are_read(series: Path, voxels: AnyArray) -> None:
    for path in series.iterdir():
        path.write_bytes(path.read_bytes()[132:])
    native, geometry = read_volume(series)
    np.testing.assert_array_equal(geometry.to_native(native), voxels)


def test_a_file_without_a_place_is_named(series: Path) -> None:
    path = series / "001.dcm"
    position, other = b"\x20\x00\x32\x00", b"\x20\x00\x33\x00"  # tag (0020,0032) and one nobody knows
    assert position in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(position, other, 1))
    with pytest.raises(UserError, match=r"(?s)no place in the patient: \(0020,0032\) missing.*001\.dcm"):
        read_geometry(series)


@pytest.mark.parametrize(("shape", "colour"), [((4, 6, 7), False), ((6, 7, 3), True)])
def test_several_frames_or_colours_in_one_file_are_refused(
    series: Path, shape: tuple[int, int, int], colour: bool
) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros(shape, np.uint8), isVector=colour)
    for tag, value in {"0008|0060": "CT", "0020|000e": "1.2.826.0.1.3680043.2.1125.1"}.items():
        image.SetMetaData(tag, value)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(series / "all.dcm"))
    writer.Execute(image)
    with pytest.raises(UserError, match=r"(?s)several frames or colours.*all\.dcm.*convert the series to NIfTI"):
        read_geometry(series)
