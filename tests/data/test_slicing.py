"""Slices in every plane: exact ways there and back, as SimpleITK sees the patient, from files to files."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sdseg.artifacts.image_contract import ImageContract
from sdseg.artifacts.manifests import PreparedManifest
from sdseg.config.dataset import Dataset
from sdseg.config.shape import Plane
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import ListedError, UserError
from sdseg.data.choose_shape import choose_plane, coarsest_plane
from sdseg.data.mask_rule import MaskRule
from sdseg.data.native_labels import NativeLabels
from sdseg.data.prepare import prepare
from sdseg.data.slicing import along_slices, from_slices, to_slices
from sdseg.data.store import SliceStore
from sdseg.data.survey import look_at
from sdseg.datasets.check_shape import check_shape
from sdseg.datasets.layouts import RawCase
from sdseg.inference.dicom_seg import Maker
from sdseg.inference.find_inputs import find_inputs
from sdseg.inference.load_input import open_array, open_file
from sdseg.inference.native_size import NativeSegmentation
from sdseg.inference.preview import draw_preview
from sdseg.inference.structure_statistics import statistics_of
from sdseg.inference.write_outputs import write_masks
from sdseg.io.geometry import Geometry
from sdseg.io.volumes import read_geometry
from tests.helpers.raw_files import save, write_split
from tests.helpers.tiny import CT, POLYP

PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
VOLUMES = hnp.arrays(np.int16, hnp.array_shapes(min_dims=3, max_dims=4, max_side=6))
# Voxels of a knee: 3 mm from left to right, the file's first axis runs to the left, tilted by 0.2 about that axis.
TILT = np.array([[1, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = TILT @ np.diag([-3.0, -0.5, 0.6])
OBLIQUE[:3, 3] = (40, -20, 7)
SHAPE = (5, 12, 9)
MAKER = Maker("bright tiny", "0123456789abcdef0123", "0.1.0")


def knee(seed: int) -> tuple[AnyArray, AnyArray]:
    """[i,j,k] noise with a dense block off the centre, and the block."""
    label = np.zeros(SHAPE, np.uint8)
    label[1:4, 2:7, 3 : 7 + seed % 2] = 1
    return (np.random.default_rng(seed).integers(-150, -50, SHAPE) + label * np.int16(300)).astype(np.int16), label


@given(VOLUMES, st.sampled_from(PLANES))
def test_slices_of_any_plane_come_back_to_the_very_volume(volume: AnyArray, plane: Plane) -> None:
    slices = to_slices(volume, plane)
    assert slices.shape[:3] == along_slices(volume.shape[:3], plane)
    assert slices.shape[3:] == volume.shape[3:]
    np.testing.assert_array_equal(from_slices(slices, plane), volume)


def test_a_mark_at_head_right_and_front_lies_where_radiologists_expect_it() -> None:
    volume = np.zeros((4, 5, 6), np.uint8)
    volume[3, 4, 5] = 1  # RAS+: the last x is the right, the last y the front, the last z the head
    assert [np.argwhere(to_slices(volume, plane)).tolist() for plane in PLANES] == [
        [[5, 0, 0]],
        [[4, 0, 0]],
        [[3, 0, 0]],
    ]
    assert [along_slices((1.0, 2.0, 3.0), plane) for plane in PLANES] == [(3, 2, 1), (2, 3, 1), (1, 3, 2)]


@pytest.mark.parametrize("plane", PLANES)
def test_slices_are_those_that_simpleitk_cuts(plane: Plane) -> None:
    voxels = np.random.default_rng(0).integers(0, 99, SHAPE).astype(np.int16)
    image = SimpleITK.GetImageFromArray(voxels.transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1]) @ OBLIQUE[:3, :3]
    image.SetSpacing(np.linalg.norm(lps, axis=0).tolist())
    image.SetDirection((lps / np.linalg.norm(lps, axis=0)).ravel().tolist())
    # [z,y,x] of axes that run to the directions named: across the slices, down the rows, along a row.
    codes = {"axial": "LPS", "coronal": "LIA", "sagittal": "PIR"}[plane]
    expected = SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(image, codes))
    geometry = Geometry(SHAPE, *[tuple(map(tuple, OBLIQUE.tolist()))] * 2, 1, 1)  # type: ignore[misc]
    np.testing.assert_array_equal(to_slices(geometry.to_canonical(voxels), plane), expected)


def flat(*spacing: float) -> Geometry:
    matrix = tuple(map(tuple, np.diag([*spacing, 1.0]).tolist()))
    return Geometry((4, 4, 4), matrix, matrix, 1, 1)


def test_the_coarsest_axis_decides_and_equal_ones_do_not() -> None:
    assert choose_plane("coronal", [flat(3, 1, 1)]) == ("coronal", "")
    plane, why = choose_plane("coarsest", [flat(3, 0.5, 0.6), flat(3.2, 0.5, 0.5), flat(0.5, 0.5, 2)])
    assert plane == "sagittal"
    assert "longest from left to right (median of 3 training volumes: 3 × 0.5 × 0.6 mm" in why
    assert "of 1 of these volumes another axis is the coarsest" in why
    assert choose_plane("coarsest", [flat(1.02, 1, 1)])[0] == "axial"
    assert choose_plane("coarsest", [flat(1, 2, 1)])[0] == "coronal"
    assert coarsest_plane([]) == "axial"


def test_a_look_at_the_data_proposes_the_plane_that_coarsest_chooses(tmp_path: Path) -> None:
    spacing = (1.2, 1.0, 1.0)  # sagittal slices lie a fifth further apart than pixels
    ramp = np.arange(64, dtype=np.int16).reshape(4, 4, 4)
    image = save(tmp_path / "a.nii.gz", ramp, np.diag([*spacing, 1.0]))
    label = save(tmp_path / "a_label.nii.gz", (ramp > 40).astype(np.uint8), np.diag([*spacing, 1.0]))
    seen = look_at([RawCase("a", image, label)], "ct", jobs=1, where=tmp_path)
    assert seen.plane == choose_plane("coarsest", [flat(*spacing)])[0] == "sagittal"


@pytest.fixture(scope="module")
def knees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SliceStore]:
    """Four tilted knees in nnU-Net's layout, and the store of them."""
    folder = tmp_path_factory.mktemp("knees")
    for number, name in enumerate("abcd"):
        voxels, label = knee(number)
        save(folder / "raw" / "imagesTr" / f"{name}_0000.nii.gz", voxels, OBLIQUE)
        save(folder / "raw" / "labelsTr" / f"{name}.nii.gz", label, OBLIQUE)
    described = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "bone": 1}, "file_ending": ".nii.gz"}
    (folder / "raw" / "dataset.json").write_text(json.dumps(described), "utf-8")
    write_split(folder / "split.csv", {"a": "train", "b": "train", "c": "val", "d": "test"})
    prepare(
        name="knees", settings=settings(), raw=folder / "raw", split=folder / "split.csv", output=folder / "prepared"
    )
    return folder / "raw", SliceStore.open(folder / "prepared", verify=True)


def settings(**more: object) -> Dataset:
    own = {"layout": "nnunet", "modality": "ct", "windows": {"all": [-200, 200]}}
    return Dataset.model_validate({"source": "own", "size": 16, "slicing": "coarsest", "own": own, **more})


def test_a_store_of_sagittal_slices_knows_its_plane_and_its_raw_files(knees: tuple[Path, SliceStore]) -> None:
    raw, store = knees
    assert store.manifest.image.slicing == "sagittal"
    case = store.cases[0]
    assert (case.slices, case.height, case.width) == (5, 9, 12)  # across x; rows along z, columns along y
    native = NativeLabels(store, raw, None).read(case)
    volume = read_geometry(raw / case.label).to_native(from_slices(native, "sagittal"))
    np.testing.assert_array_equal(volume, knee(0)[1])


def test_what_is_axial_is_written_as_ever() -> None:
    assert "slicing" not in Dataset(source="btcv").model_dump()
    assert "slicing" not in CT.model_dump()
    old = {key: value for key, value in CT.model_dump().items() if key != "slicing"}
    assert ImageContract.model_validate(old).slicing == "axial"
    assert PreparedManifest.model_fields["image"].annotation is ImageContract


def filled(native: NativeSegmentation, image: ImageContract) -> NativeSegmentation:
    """With a mask of all that is dense."""
    for index, pixels in enumerate(native.images):
        native.put(index, (pixels[..., 0][None] > 100).astype(np.float32), MaskRule())
    return native


@pytest.mark.parametrize("plane", PLANES)
def test_masks_of_any_plane_lie_on_the_grid_of_an_oblique_file(tmp_path: Path, plane: Plane) -> None:
    voxels, label = knee(1)
    save(tmp_path / "k.nii.gz", voxels, OBLIQUE)
    slices, rows, columns = along_slices(SHAPE, plane)
    image = CT.model_copy(update={"size": 4 * rows * columns, "slicing": plane})  # whole times both sides: no loss
    (file,) = find_inputs([tmp_path / "k.nii.gz"], tmp_path / "out").inputs
    native = filled(open_file(file, image, POLYP, with_pixels=True), image)
    assert native.bits.shape == (slices, rows, columns)
    outputs = write_masks(native, tmp_path, MAKER)
    written = nib.load(tmp_path / outputs["mask"])
    np.testing.assert_array_equal(np.asarray(written.dataobj), label)
    np.testing.assert_allclose(written.affine, OBLIQUE, atol=1e-5)
    assert statistics_of(native, "ct")["components"] == {"polyp": 1}
    assert draw_preview(native, image.window).shape[2] == 3


def test_planes_that_cannot_be_cut_are_refused_in_one_message(knees: tuple[Path, SliceStore], tmp_path: Path) -> None:
    raw, _ = knees
    with pytest.raises(UserError, match="'slicing: coronal' is for volumes"):
        check_shape(Dataset(source="kseg", slicing="coronal"), "rgb", "datasets.k")
    save(tmp_path / "raw" / "imagesTr" / "a_0000.nii.gz", knee(0)[0][:, :, :1], OBLIQUE)
    save(tmp_path / "raw" / "labelsTr" / "a.nii.gz", knee(0)[1][:, :, :1], OBLIQUE)
    (tmp_path / "raw" / "dataset.json").write_text((raw / "dataset.json").read_text("utf-8"), "utf-8")
    write_split(tmp_path / "s.csv", {"a": "train"})
    with pytest.raises(ListedError, match="coronal slices of it would have 1 × 5 pixels"):
        prepare(
            name="x",
            settings=settings(slicing="coronal"),
            raw=tmp_path / "raw",
            split=tmp_path / "s.csv",
            output=tmp_path / "o",
        )
    sagittal = CT.model_copy(update={"slicing": "sagittal"})
    with pytest.raises(UserError, match="sagittal slices of it would have 1 × 9 pixels"):
        open_array(np.zeros((5, 9, 1), np.int16), np.eye(4), sagittal, POLYP)
    with pytest.raises(UserError, match="not sagittal: by its affine the axes run RA"):
        open_array(np.zeros((5, 9), np.int16), np.eye(4), sagittal, POLYP)
