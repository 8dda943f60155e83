"""Several files per case, each a channel: found, held against each other, normalised one by one, kept in order."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from sdseg.artifacts.image_contract import ImageContract
from sdseg.artifacts.manifests import PreparedManifest
from sdseg.config.dataset import Dataset
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import ListedError, UserError
from sdseg.core.settings import parse
from sdseg.data.augmentation import StrongAugmentation
from sdseg.data.prepare import prepare
from sdseg.data.quick_augmentation import QuickAugmentation
from sdseg.data.store import SliceStore
from sdseg.datasets.raw_cases import open_raw
from tests.helpers.channels import NAMES, two_channels, write_two_channels
from tests.helpers.mr_volumes import SCANNERS, SIDE
from tests.helpers.raw_files import encode, write_split

MR = {"layout": "nnunet", "modality": "mr"}


def settings(own: dict[str, Any], **changes: Any) -> Dataset:
    return parse(Dataset, {"source": "own", "size": SIDE, "own": own, **changes}, where="my.yaml")


def prepared(folder: Path, own: dict[str, Any], output: Path, raw: Path | None = None) -> SliceStore:
    raw = raw or folder / "raw"
    prepare(name="heads", settings=settings(own), raw=raw, split=folder / "split.csv", output=output)
    return SliceStore.open(output)


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads ä")
    write_two_channels(folder)
    return folder


@pytest.fixture(scope="module")
def store(heads: Path) -> SliceStore:
    return prepared(heads, MR, heads / "prepared")


def by_percentiles(voxels: AnyArray) -> AnyArray:
    """Slices [Z,H,W] of a volume [i,j,k] in LPS, by the definition of percentiles."""
    ordered = np.sort(voxels, axis=None).astype(np.float64)
    ends = [np.interp(share * (len(ordered) - 1), np.arange(len(ordered)), ordered) for share in (0.005, 0.995)]
    scaled = np.clip((voxels - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0)
    return scaled.transpose(2, 1, 0)


def test_each_channel_is_normalised_by_its_own_statistics(store: SliceStore) -> None:
    image = store.manifest.image
    assert (image.channels, image.channel_names, image.dtype) == (2, NAMES, "float16")
    for case in store.cases:
        channels, _ = two_channels(list(SCANNERS).index(case.case), SCANNERS[case.case])
        for place, voxels in enumerate(channels):
            np.testing.assert_allclose(store.images[case.rows][..., place], by_percentiles(voxels), atol=2e-3)
        assert dict(case.channels) == {
            name: f"imagesTr/{case.case}_{place:04d}.nii.gz" for place, name in enumerate(NAMES)
        }
    low, high = image.channel_intensities[1].width[::2]
    assert high / low > 3.5  # the scanners of the training cases differ by 3.9


def test_what_is_written_reads_back_and_one_channel_stays_as_it_was(store: SliceStore) -> None:
    manifest = store.manifest
    assert PreparedManifest.model_validate_json(manifest.model_dump_json()) == manifest
    plain = ImageContract(modality="mr", size=8, channels=1, window=(0.0, 1.0)).model_dump()
    assert not {"channel_names", "shown_channel", "normalisations", "channel_intensities"} & set(plain)
    with pytest.raises(ValueError, match="1 names of 2 channels"):
        ImageContract(modality="mr", size=8, channels=2, window=(0.0, 1.0), channel_names=("T1",))


def test_channels_may_differ_in_kind(heads: Path, tmp_path: Path) -> None:
    """One by its z-score, the other through a window: each goes from 0 to 1."""
    how = {"T1": {"method": "z-score", "low": -2, "high": 4}, "T2": {"method": "window", "low": 100, "high": 1100}}
    store = prepared(heads, MR | {"modality": "other", "normalisation": how, "shown_channel": "T2"}, tmp_path / "store")
    assert (store.manifest.image.window, store.manifest.image.shown_channel) == ((0.0, 1.0), 1)
    (first, second), _ = two_channels(1, SCANNERS["b"])
    own = store.images[next(case.rows for case in store.cases if case.case == "b")].astype(np.float64)
    deviations = (first - first.mean(dtype=np.float64)) / first.std(dtype=np.float64)
    expected = (np.clip(deviations, -2, 4) + 2) / 6, (np.clip(second, 100, 1100) - 100) / 1000
    for place, values in enumerate(expected):
        np.testing.assert_allclose(own[..., place], values.transpose(2, 1, 0), atol=2e-3)


@pytest.mark.parametrize("layout", ["folders", "pattern", "table"])
def test_other_layouts_give_the_same_store(heads: Path, store: SliceStore, tmp_path: Path, layout: str) -> None:
    raw, source = tmp_path / "raw", heads / "raw"
    for case in SCANNERS:
        places = {
            "folders": (f"t1/{case}.nii.gz", f"t2/{case}.nii.gz", f"masks/{case}.nii.gz"),
            "pattern": (f"{case}/{case}_t1.nii.gz", f"{case}/{case}_t2.nii.gz", f"{case}/{case}_seg.nii.gz"),
            "table": (f"a-{case}.nii.gz", f"b-{case}.nii.gz", f"m-{case}.nii.gz"),
        }[layout]
        files = (*(f"imagesTr/{case}_{place:04d}.nii.gz" for place in range(2)), f"labelsTr/{case}.nii.gz")
        for place, file in zip(places, files, strict=True):
            (raw / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / file, raw / place)
    lines = "\n".join(f"{case},a-{case}.nii.gz,b-{case}.nii.gz,m-{case}.nii.gz" for case in SCANNERS)
    (raw / "cases.csv").write_text(f"id,first,second,mask\n{lines}\n", "utf-8")
    own: dict[str, Any] = {
        "folders": {"channels": {"T1": "t1", "T2": "t2"}, "masks": "masks"},
        "pattern": {
            "channels": {"T1": "{id}/{id}_t1.nii.gz", "T2": "{id}/*_t2.nii.gz"},
            "masks": "{id}/{id}_seg.nii.gz",
        },
        "table": {"channels": {"T1": "first", "T2": "second"}, "table": "cases.csv"},
    }[layout]
    own |= {"layout": "table" if layout == "table" else "folders", "modality": "mr", "labels": {1: "lesion"}}
    other = prepared(heads, own, tmp_path / "store", raw)
    np.testing.assert_array_equal(other.images, store.images)
    np.testing.assert_array_equal(other.masks[:], store.masks[:])


def test_axes_may_run_otherwise_and_other_grids_are_refused(heads: Path, store: SliceStore, tmp_path: Path) -> None:
    shutil.copytree(heads / "raw", tmp_path / "raw")
    shutil.copy(heads / "split.csv", tmp_path)
    path = tmp_path / "raw" / "imagesTr" / "a_0001.nii.gz"
    SimpleITK.WriteImage(SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), "PIL"), str(path))
    turned = prepared(tmp_path, MR, tmp_path / "turned")
    np.testing.assert_array_equal(turned.images, store.images)
    assert (turned.cases[0].axcodes, turned.cases[0].affine) == (store.cases[0].axcodes, store.cases[0].affine)
    image = nib.load(path)
    moved = image.affine.copy()
    moved[0, 3] += 3
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved), path)
    with pytest.raises(ListedError, match=r"affines of channel T1 and channel T2 differ.*a_0000\.nii\.gz and a_0001"):
        prepared(tmp_path, MR, tmp_path / "moved")


def test_missing_channels_are_listed_in_one_message(heads: Path, tmp_path: Path) -> None:
    raw = shutil.copytree(heads / "raw", tmp_path / "raw")
    (raw / "imagesTr" / "b_0001.nii.gz").unlink()
    (raw / "imagesTr" / "d_0000.nii.gz").unlink()
    expected = (
        r"2 problem\(s\)\):\n  - channels missing: case 'b' lacks T2 \(expected: imagesTr/b_0001\.nii\.gz\)\n"
        r"  - channels missing: case 'd' lacks T1 \(expected: imagesTr/d_0000\.nii\.gz\)"
    )
    with pytest.raises(ListedError, match=expected):
        open_raw(settings(MR), raw)
    described = json.loads((raw / "dataset.json").read_text("utf-8"))
    (raw / "dataset.json").write_text(json.dumps(described | {"channel_names": {"0": "T1"}}), "utf-8")
    with pytest.raises(UserError, match=r"holds channels up to _0001, and dataset\.json names 1 \(T1\)"):
        open_raw(settings(MR), raw)


def test_names_that_repeat_are_numbered(heads: Path, tmp_path: Path) -> None:
    """nnU-Net takes names for ways to normalise: two channels may be called the same."""
    raw = shutil.copytree(heads / "raw", tmp_path / "raw")
    described = json.loads((raw / "dataset.json").read_text("utf-8"))
    (raw / "dataset.json").write_text(
        json.dumps(described | {"channel_names": {"0": "noNorm", "1": "noNorm"}}), "utf-8"
    )
    assert open_raw(settings(MR), raw)[0].channels == ("noNorm", "noNorm-2")


FOLDERS = {"layout": "folders", "modality": "mr", "masks": "m", "labels": {1: "a"}, "channels": {"T1": "a", "T2": "b"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": {"T1": "a"}}, "'channels' names one: leave it out"),
        ({"images": "c"}, "'images' and 'channels' both say where images lie"),
        ({"channels": {"T1": "a", "t1": "b"}}, "two 'channels' have the same name"),
        ({"channels": {"T1": "a", "T2": "a"}}, "'channels' names one place twice"),
        ({"channels": {"T1": "a", "T2": "m"}}, "'images' and 'masks' are the same folder"),
        ({"channels": {"T1": "a", "T2": "../b"}}, "'channels' must lie below the raw folder"),
        ({"channels": {"T1": "a", "x=y": "b"}}, "String should match pattern"),
        ({"shown_channel": "FLAIR"}, "'shown_channel' is 'FLAIR'"),
        ({"normalisation": {"T1": {"method": "min-max"}}}, "'normalisation' leaves out the channel T2"),
        ({"normalisation": {"T3": {"method": "min-max"}}}, "'normalisation' names the channel 'T3'"),
        (
            {"channels": {}, "images": "a", "shown_channel": "T1"},
            "'shown_channel' names channels, and there",
        ),
        (
            {"normalisation": {"T1": {"method": "window", "low": 3, "high": 1}, "T2": {"method": "min-max"}}},
            "'low' must be",
        ),
        ({"layout": "nnunet", "masks": None, "labels": {}}, "'channels' does not belong to 'layout: nnunet'"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ListedError, match=message):
        settings(FOLDERS | changes)


def test_images_of_several_grey_files(tmp_path: Path) -> None:
    """As of fluorescence: each file is a channel, five of them, and none is a colour."""
    names = [f"stain {number}" for number in range(5)]
    generator = np.random.default_rng(3)
    pixels = generator.integers(0, 255, (4, 5, 40, 48), dtype=np.uint8)
    for number, case in enumerate("abcd"):
        for name, plane in zip(names, pixels[number], strict=True):
            encode(tmp_path / "raw" / name / f"{case}.png", plane)
        encode(tmp_path / "raw" / "masks" / f"{case}.png", (pixels[number, 0] > 127).astype(np.uint8))
    write_split(tmp_path / "split.csv", {"a": "train", "b": "train", "c": "val", "d": "test"})
    own = {
        "layout": "folders",
        "modality": "rgb",
        "channels": {name: name for name in names},
        "masks": "masks",
        "labels": {1: "cell"},
    }
    store = prepared(tmp_path, own, tmp_path / "store")
    assert (store.images.dtype, store.images.shape) == (np.uint8, (4, SIDE, SIDE, 5))
    for place in range(5):
        alone = cv2.resize(pixels[0, place], (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(store.images[0, ..., place], alone)
    for output, tiles, shape in (("small", None, (16, 16)), ("tiles", {"scale": 0.3}, (12, 14))):
        chosen = settings(own, **{"size": 16} | ({"tiles": tiles} if tiles else {}))
        prepare(name="c", settings=chosen, raw=tmp_path / "raw", split=tmp_path / "split.csv", output=tmp_path / output)
        top, left = (16 - shape[0]) // 2, (16 - shape[1]) // 2
        shown = SliceStore.open(tmp_path / output).images[0, top : top + shape[0], left : left + shape[1]]
        for place in range(5):  # shrunk to less than half: averaged
            alone = cv2.resize(pixels[0, place], shape[::-1], interpolation=cv2.INTER_AREA)
            np.testing.assert_array_equal(shown[..., place], alone)
    encode(tmp_path / "raw" / names[1] / "a.png", generator.integers(0, 255, (40, 48, 3), dtype=np.uint8))
    with pytest.raises(ListedError, match="an image in colour, where the channel stain 1 is expected"):
        prepared(tmp_path, own, tmp_path / "colour")
    encode(tmp_path / "raw" / names[1] / "a.png", pixels[0, 1, :30])
    with pytest.raises(ListedError, match=r"channel stain 0 is 48×40 pixels .*, channel stain 1 48×30"):
        prepared(tmp_path, own, tmp_path / "smaller")


def test_intensities_change_channel_by_channel(store: SliceStore) -> None:
    """Both move alike, and each changes by itself; the slices of a channel change alike."""
    contract = store.manifest.image
    level = np.full((SIDE, SIDE, 6), 0.5, np.float32)  # three slices of two channels
    for augment in (QuickAugmentation(contract, affine=True), StrongAugmentation(contract)):
        differ = 0
        for seed in range(12):
            changed, _ = augment(level, np.zeros((1, SIDE, SIDE), bool), seed)
            means = changed.mean(axis=(0, 1))
            differ += int(abs(means[0] - means[1]) > 0.01)
            np.testing.assert_allclose(means[::2], means[0], atol=0.01)
            np.testing.assert_allclose(means[1::2], means[1], atol=0.01)
        assert differ > 3


def test_a_fixed_window_over_scales_that_differ_is_warned_of_by_channel(heads: Path, tmp_path: Path) -> None:
    own = MR | {"normalisation": {"method": "window"}, "windows": {"all": [0, 3500]}}
    given = {"raw": heads / "raw", "split": heads / "split.csv"}
    prepare(name="heads", settings=settings(own), output=tmp_path / "store", **given)
    warnings = json.loads((tmp_path / "store" / "check.json").read_text("utf-8"))["warnings"]
    assert any(warning.startswith("channel T2: ") and "10.9-fold" in warning for warning in warnings)
