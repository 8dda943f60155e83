"""Slices at a common spacing: against SimpleITK, there and back, from files to files; sizes that are chosen."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from sdseg.artifacts.image_contract import ImageContract
from sdseg.config.dataset import Dataset
from sdseg.config.shape import AutoSize, Fit, Resampling
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.core.files import read_json
from sdseg.core.settings import parse
from sdseg.data.choose_shape import choose_size, choose_spacing
from sdseg.data.fit import SliceFit, fit_of
from sdseg.data.mask_rule import MaskRule
from sdseg.data.native_labels import NativeLabels
from sdseg.data.prepare import prepare
from sdseg.data.store import SliceStore
from sdseg.data.tile_grid import TileGrid
from sdseg.datasets.check_shape import check_shape
from sdseg.evaluation.evaluator import Evaluator, ScoringRules
from sdseg.inference.dicom_seg import Maker
from sdseg.inference.find_inputs import find_inputs
from sdseg.inference.load_input import open_array, open_file
from sdseg.inference.write_outputs import write_masks
from sdseg.io.geometry import Geometry
from tests.helpers.raw_files import encode, save, write_btcv, write_split
from tests.helpers.tiny import CT, POLYP, RGB, picture

SIDES = st.tuples(st.integers(1, 20), st.integers(1, 20))
SPACINGS = {"a": (0.5, 1.0), "b": (1.0, 1.0), "c": (1.0, 2.0), "d": (2.0, 0.5)}  # mm along x and y; z has 4
AT_ONE = CT.model_copy(update={"size": (20, 24), "resampling": Resampling(spacing=(1.0, 1.0))})


def smooth(height: int, width: int) -> AnyArray:
    """[1,H,W,1] float32, waves as long as the slice."""
    rows, columns = np.mgrid[:height, :width]
    waves = np.sin(2 * np.pi * rows / height) + np.cos(3 * np.pi * columns / width)
    return np.asarray(waves, np.float32)[None, ..., None]


@given(SIDES, SIDES, SIDES)
def test_what_is_seen_comes_back_and_the_rest_is_nothing(
    native: tuple[int, int], resampled: tuple[int, int], working: tuple[int, int]
) -> None:
    fit = SliceFit(native, resampled, working)
    ones = np.ones((1, *native), np.uint8)
    seen = fit.labels(ones)
    assert seen.shape == (1, *working)
    assert seen.sum() == min(resampled[0], working[0]) * min(resampled[1], working[1])
    assert fit.images(ones[..., None], 7).shape == (1, *working, 1)
    back = fit.restore(seen.astype(np.float32))
    assert back.shape == (1, *native)
    assert (back == 1).all() or fit.cut
    assert ((back > 0) & (back < 1)).sum() == 0 or fit.native != fit.resampled


@given(st.integers(1, 12), st.integers(1, 12), SIDES)
def test_cutting_and_filling_lose_no_pixel_that_both_have(height: int, width: int, working: tuple[int, int]) -> None:
    labels = np.arange(1, height * width + 1, dtype=np.uint8).reshape(1, height, width)
    fit = SliceFit((height, width), (height, width), working)
    back = fit.restore(fit.labels(labels).astype(np.float32))
    np.testing.assert_array_equal(back[back > 0], labels[back > 0])
    if not fit.cut:
        np.testing.assert_array_equal(back, labels)


def test_slices_lie_in_the_middle() -> None:
    fit = SliceFit((1, 5), (1, 5), (4, 3))
    cut = fit.images(np.array([[[1, 2, 3, 4, 5]]], np.int16)[..., None], -9)[0, ..., 0]
    assert cut.tolist() == [[-9, -9, -9], [2, 3, 4], [-9, -9, -9], [-9, -9, -9]]
    assert fit.restore(np.array([[[0, 0, 0], [1, 0.5, 1], [0, 0, 0], [0, 0, 0]]], np.float32)).tolist() == [
        [[0, 1, 0.5, 1, 0]]
    ]


@pytest.mark.parametrize(
    ("dtype", "outside", "expected"),
    [("uint16", -175.0, 0), ("int16", -40_000.0, -32_768), ("int16", 70_000.0, 32_767)],
)
def test_what_lies_around_a_slice_does_not_wrap_around(dtype: str, outside: float, expected: int) -> None:
    ones = np.ones((1, 2, 2, 1), dtype)
    around = SliceFit((2, 2), (2, 2), (4, 2)).images(ones, outside)
    assert around[0, :, 0, 0].tolist() == [expected, 1, 1, expected]
    np.testing.assert_array_equal(TileGrid(2, 2, (4, 4)).cut(ones[0], outside)[0, 0], np.full((4, 1), expected))


@pytest.mark.parametrize("wanted", [(0.5, 0.5), (0.7, 1.1), (1.4, 0.9)])
def test_resampling_is_that_of_simpleitk(wanted: tuple[float, float]) -> None:
    """The whole slice from border to border, in the middle of a larger working size."""
    slices, own = smooth(30, 40), (1.0, 0.8)
    image = CT.model_copy(update={"size": (80, 90), "resampling": Resampling(spacing=wanted)})
    fit = fit_of(image, (30, 40), (own[1], own[0], 3.0))
    height, width = fit.resampled
    assert (height, width) == (round(30 / wanted[0]), round(40 * 0.8 / wanted[1]))

    source = SimpleITK.GetImageFromArray(slices[0, ..., 0])
    source.SetSpacing((own[1], own[0]))
    grid = SimpleITK.Image([width, height], SimpleITK.sitkFloat32)
    spacing = (own[1] * 40 / width, own[0] * 30 / height)  # to half a pixel of the length what was wanted
    grid.SetSpacing(spacing)
    grid.SetOrigin([(new - old) / 2 for new, old in zip(spacing, (own[1], own[0]), strict=True)])
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.Resample(source, grid, SimpleITK.Transform(), SimpleITK.sitkLinear))
    top, left = (80 - height) // 2, (90 - width) // 2
    ours = fit.images(slices, -100.0)[0, ..., 0]
    inner = ours[top + 1 : top + height - 1, left + 1 : left + width - 1]  # SimpleITK knows nothing beyond centres
    np.testing.assert_allclose(inner, theirs[1:-1, 1:-1], atol=1e-5)
    assert (ours == -100.0).sum() == 80 * 90 - height * width


def test_there_and_back_changes_little_where_nothing_is_cut() -> None:
    fit = fit_of(AT_ONE, (26, 18), (1.1, 0.75, 4.0))
    assert (fit.resampled, fit.cut) == ((20, 20), False)
    probability = (smooth(26, 18)[..., 0] + 2) / 4
    back = fit.restore(fit.images(probability[..., None], 0.0)[..., 0])
    np.testing.assert_allclose(back, probability, atol=0.06)


def test_slices_that_are_too_large_are_shrunk_with_their_side_ratio() -> None:
    image = AT_ONE.model_copy(update={"resampling": Resampling(spacing=(1.0, 1.0), fit="shrink")})
    fit = fit_of(image, (40, 24), (1.0, 1.0, 4.0))
    assert (fit.resampled, fit.shrunk, fit.cut) == ((20, 12), 0.5, False)
    assert fit_of(image, (10, 12), (1.0, 1.0, 4.0)).resampled == (10, 12)


def volume(name: str) -> tuple[AnyArray, AnyArray, AnyArray]:
    """A block of 8 × 6 mm in a scan of 20 × 20 mm, its label and its affine: the same at any spacing."""
    along, down = SPACINGS[name]
    x, y, _ = np.mgrid[: round(20 / along), : round(20 / down), :3]
    label = (np.abs((x + 0.5) * along - 9) < 4) & (np.abs((y + 0.5) * down - 11) < 3)
    return np.where(label, 150, -100).astype(np.int16), label.astype(np.uint8), np.diag([along, down, 4.0, 1.0])


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans of four spacings in nnU-Net's layout, and the store of them at 1 mm."""
    folder = tmp_path_factory.mktemp("scans")
    for name in SPACINGS:
        voxels, label, affine = volume(name)
        save(folder / "raw" / "imagesTr" / f"{name}_0000.nii.gz", voxels, affine)
        save(folder / "raw" / "labelsTr" / f"{name}.nii.gz", label, affine)
    described = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "block": 1}, "file_ending": ".nii.gz"}
    (folder / "raw" / "dataset.json").write_text(json.dumps(described), "utf-8")
    write_split(folder / "split.csv", {"a": "train", "b": "train", "c": "val", "d": "test"})
    prepared(folder, "prepared", spacing=[1.0, 1.0], size=[20, 24])
    return folder


def prepared(folder: Path, output: str, **settings: object) -> SliceStore:
    own = {"layout": "nnunet", "modality": "ct", "windows": {"all": [-175, 250]}}
    chosen = Dataset.model_validate({"source": "own", "own": own, "origin": "sample", "protocol": "sample", **settings})
    prepare(name="s", settings=chosen, raw=folder / "raw", split=folder / "split.csv", output=folder / output)
    return SliceStore.open(folder / output, verify=True)


def test_structures_have_one_size_in_the_store_whatever_the_spacing(scans: Path) -> None:
    store = SliceStore.open(scans / "prepared", verify=True)
    assert store.manifest.image.resampling == Resampling(spacing=(1.0, 1.0))
    areas = {case.case: int((store.masks[case.start] > 0).sum()) for case in store.cases}
    millimetres = {name: float(volume(name)[1][:, :, 0].sum() * np.prod(SPACINGS[name])) for name in SPACINGS}
    assert areas == millimetres  # pixels of 1 mm²
    assert store.images[0, 10, :4, 0].tolist() == [-175, -175, -100, -100]  # beyond the scan the window's lower end
    labels = NativeLabels(store, scans / "raw", None).read(store.cases[3])
    assert labels.shape == (3, 40, 10)


@pytest.mark.parametrize("name", SPACINGS)
def test_predict_sees_what_was_prepared_and_masks_come_back_to_the_voxel(
    scans: Path, tmp_path: Path, name: str
) -> None:
    store = SliceStore.open(scans / "prepared")
    case = next(each for each in store.cases if each.case == name)
    image = ImageContract.model_validate_json(store.manifest.image.model_dump_json())  # as a graph carries it
    (file,) = find_inputs([scans / "raw" / "imagesTr" / f"{name}_0000.nii.gz"], tmp_path / "out").inputs
    native = open_file(file, image, POLYP)
    np.testing.assert_array_equal(native.images, store.images[case.rows])
    assert not native.notes
    for index, labels in enumerate(store.masks[case.rows]):
        native.put(index, labels[None].astype(np.float32), MaskRule())
    written = nib.load(tmp_path / write_masks(native, tmp_path, Maker("m", "0" * 20, "0"))["mask"])
    _, label, affine = volume(name)
    mask = np.asarray(written.dataobj)
    assert 2 * (mask & label).sum() / (mask.sum() + label.sum()) > 0.85
    np.testing.assert_allclose(written.affine, affine)
    if name == "b":
        np.testing.assert_array_equal(mask, label)  # at the model's own spacing


def test_scores_are_of_native_voxels_and_of_resampled_ones_in_millimetres(scans: Path) -> None:
    store = SliceStore.open(scans / "prepared")
    rules, native = ScoringRules(MaskRule(), 1.0), NativeLabels(store, scans / "raw", None)
    backend = Evaluator(lambda images: (images[..., 0] > 25)[:, None].astype(np.float32), store, rules, native)
    scores = {score.case.case: score for score in backend.run(store.cases, 2)}
    assert [scores[name].working.whole["dice"].value > 0.85 for name in SPACINGS] == [True] * 4
    assert [scores[name].headline.whole["dice"].value > 0.85 for name in SPACINGS] == [True] * 4
    assert scores["b"].headline.whole["dice"].value == 1.0  # at the model's own spacing
    assert all(score.headline.whole["hd95"].value <= 2.0 for score in scores.values())  # mm: a voxel of the coarsest


def test_what_lies_beyond_the_working_size_is_told(
    scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = prepared(scans, "small", spacing=[1.0, 1.0], size=[16, 16])
    assert "labelled voxels" not in caplog.text
    (file,) = find_inputs([scans / "raw" / "imagesTr" / "a_0000.nii.gz"], tmp_path / "out").inputs
    (note,) = open_file(file, small.manifest.image, POLYP).notes
    assert "slices of 20 × 20 pixels at the model's spacing of 1 × 1 mm, and it sees 16 × 16 in the middle" in note
    prepared(scans, "fine", spacing=[0.3, 0.3], size=[16, 16])
    assert "labelled voxels lie beyond the working size and are cut off" in caplog.text


def test_spacing_and_size_are_chosen_from_the_training_volumes(scans: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    size = {"at_most": 64, "multiple_of": 8}
    manifest = prepared(scans, "auto", spacing="median", size=size).manifest
    assert manifest.image.resampling == Resampling(spacing=(1.0, 0.75))  # rows: 1 and 1 mm; columns: 0.5 and 1
    assert manifest.image.size == (24, 32)  # 20 rows and 26.67 columns, the next multiples of 8
    assert manifest.chosen["spacing"] in caplog.text
    assert manifest.chosen["size"].startswith(
        "size 24 × 32: training images have 20 × 27 pixels (largest of 2, resampl"
    )
    assert read_json(scans / "auto" / "manifest.json", type(manifest)) == manifest


@pytest.mark.parametrize(
    ("sizes", "auto", "fit", "expected"),
    [
        ([(104, 240)], {"multiple_of": 16}, None, (112, 240)),
        ([(104, 240), (100, 200), (300, 260)], {"multiple_of": 32}, None, (96, 256)),
        ([(1000, 2000)], {"at_most": 512, "multiple_of": 32}, None, (256, 512)),
        ([(1000, 2000)], {"at_most": 512, "multiple_of": 32}, "crop", 512),
        ([(9, 70)], {"multiple_of": 32}, None, 64),
        ([(70, 65)], {"multiple_of": 32}, "crop", 96),
        ([(104, 240), (100, 200), (300, 190)], {"multiple_of": 32}, "crop", (320, 256)),
        ([(104, 240), (100, 200), (300, 190)], {"multiple_of": 32}, "shrink", (128, 224)),
        ([(500, 480)], {}, None, (512, 480)),
    ],
)
def test_sizes_are_the_median_or_where_slices_are_cut_the_largest(
    sizes: list[tuple[int, int]], auto: dict[str, int], fit: Fit | None, expected: object
) -> None:
    assert choose_size(sizes, AutoSize(**auto), fit)[0] == expected


def test_how_many_volumes_are_cut_is_said() -> None:
    sizes, auto = [(60, 64), (70, 50), (40, 90), (64, 64)], AutoSize(at_most=64)
    chosen, why = choose_size(sizes, auto, "crop")
    assert chosen == 64
    assert why.startswith("size 64 × 64: training images have 70 × 90 pixels (largest of 4, resampled)")
    assert why.endswith("; of 2 of 4 training volumes slices are larger and are cut off")
    assert "cut off" not in choose_size(sizes, AutoSize(at_most=96), "crop")[1]


def test_the_median_spacing_is_that_of_each_axis() -> None:
    grids = []
    for spacing in ((0.5, 1.0, 4.0), (0.7, 1.2, 4.0), (2.0, 1.1, 4.0)):
        matrix = tuple(map(tuple, np.diag([*spacing, 1.0]).tolist()))
        grids.append(Geometry((4, 4, 4), matrix, matrix, 1, 1))
    assert choose_spacing(grids, "axial")[0] == (1.1, 0.7)
    assert choose_spacing(grids, "sagittal")[0] == (4.0, 1.1)


def test_a_dataset_that_says_nothing_of_shape_is_prepared_as_ever(tmp_path: Path) -> None:
    raw = write_btcv(tmp_path / "raw", {"0005": 3, "0006": 2, "0001": 2}, shape=(32, 64))
    split = write_split(tmp_path / "s.csv", {"0005": "train", "0006": "val", "0001": "test"})
    settings = Dataset(source="btcv", origin="phantom", size=16)
    made = prepare(name="b", settings=settings, raw=raw, split=split, output=tmp_path / "out")
    assert made.checksums["images.npy"] == "f13593aa62e1867b51e2976a87a48403aec99b858a0efe8a3a8ff02a2a023076"
    written = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert list(written["image"]) == [
        *("modality", "size", "channels", "window", "train_clip", "stretch", "dtype", "intensities")
    ]
    assert written["image"]["size"] == 16
    assert "chosen" not in written
    assert not {"slicing", "spacing", "fit"} & settings.model_dump(mode="json").keys()


def test_spacings_that_no_image_has_are_refused_with_their_file(scans: Path, tmp_path: Path) -> None:
    matrix = tuple(map(tuple, np.diag([0.001, 0.001, 1.0, 1.0]).tolist()))
    with pytest.raises(UserError, match=r"the median spacing of the training volumes is 0.001 × 0.001 mm"):
        choose_spacing([Geometry((4, 4, 4), matrix, matrix, 1, 1)], "axial")
    for folder, ending in (("imagesTr", "_0000"), ("labelsTr", "")):
        save(tmp_path / "raw" / folder / f"a{ending}.nii.gz", np.ones((9, 9, 2), np.uint8), np.diag([3000.0, 1, 1, 1]))
    (tmp_path / "raw" / "dataset.json").write_text((scans / "raw" / "dataset.json").read_text("utf-8"), "utf-8")
    write_split(tmp_path / "split.csv", {"a": "train"})
    with pytest.raises(UserError, match=r"imagesTr/a_0000.nii.gz: slices of 9 × 9 pixels.* would have 9 × 27000"):
        prepared(tmp_path, "out", spacing=[1.0, 1.0])


def test_size_auto_of_images_is_taken_from_their_headers(tmp_path: Path) -> None:
    raw = tmp_path / "raw" / "Kvasir-SEG"
    for seed, name in enumerate("abcd"):
        pixels, label = picture(RGB.model_copy(update={"size": (40, 100 + 20 * seed)}), seed)
        encode(raw / "images" / f"{name}.jpg", pixels)
        encode(raw / "masks" / f"{name}.jpg", label * np.uint8(255))
    split = write_split(tmp_path / "s.csv", {"a": "train", "b": "train", "c": "val", "d": "test"})
    settings = Dataset.model_validate(
        {"source": "kseg", "origin": "sample", "protocol": "sample", "size": {"multiple_of": 16}}
    )
    made = prepare(name="k", settings=settings, raw=tmp_path / "raw", split=split, output=tmp_path / "out")
    assert made.image.size == (48, 112)  # median 40 × 110, and 40 lies between 32 and 48
    assert list(made.chosen) == ["size"]
    assert "auto" not in (tmp_path / "out" / "manifest.json").read_text("utf-8")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spacing": [1.0, 0.0]}, "millimetres from 0.01 to 100 as "),
        (
            {"size": "auto", "tiles": {}},
            "with 'tiles' the size is that of a tile: give one number, or height and width",
        ),
        ({"fit": "shrink"}, "'fit' is of slices that are resampled"),
        ({"size": {"at_most": 8}}, "of an automatic size 'at_most': Input should be greater than or equal to 16"),
        ({"size": {"most": 80}}, "of an automatic size 'most'"),
        ({"size": "large"}, "or two: \\[height, width\\]; or auto"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(Dataset, {"source": "btcv", **settings}, where="d.yaml")


def test_volumes_that_cannot_be_resampled_are_refused() -> None:
    with pytest.raises(UserError, match="a slice without spacing, and this model resamples slices"):
        open_array(np.zeros((8, 8), np.int16), None, AT_ONE, POLYP)
    with pytest.raises(UserError, match="would have 160000 × 8 at the spacing of 1 × 1 mm"):
        open_array(np.zeros((8, 8, 2), np.int16), np.diag([1.0, 20_000.0, 1.0, 1.0]), AT_ONE, POLYP)
    with pytest.raises(UserError, match=r"'spacing: \[1.0, 1.0\]' is for volumes"):
        check_shape(Dataset(source="kseg", spacing=(1.0, 1.0)), "rgb", "datasets.k")
    with pytest.raises(UserError, match=r"size\.at_most is 32, and sides are multiples of 32"):
        choose_size([(64, 64)], AutoSize(at_most=32), None)
