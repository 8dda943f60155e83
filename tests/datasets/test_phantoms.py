"""Synthetic datasets: layouts, values, splits, repeatability, and that a threshold does not solve them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pydicom
import pytest

from sdseg.core.errors import UserError
from sdseg.datasets.layouts import find_cases
from sdseg.datasets.lidc_xml import read_outlined
from sdseg.datasets.phantoms import PHANTOM_SOURCES, write_phantoms
from sdseg.datasets.phantoms.files import share_out
from sdseg.datasets.sources import SOURCES


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phantoms")


@pytest.fixture
def built(root: Path):  # type: ignore[no-untyped-def]
    """Folder of a small phantom by its name, written once for all tests."""

    def folder(source: str) -> Path:
        made = root / source
        if not made.exists():
            made.mkdir()
            write_phantoms(source, made, seed=3, scale=0.1)
        return made

    return folder


def read_split(folder: Path) -> list[dict[str, str]]:
    with (folder / "split.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def read_volume(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def pairs(source: str, folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Case, grey image as uint8 under the default window, mask of the default target; found by the layout alone."""
    if source == "cvc":
        for path in (folder / "PNG" / "Original").iterdir():
            mask = cv2.imread(str(folder / "PNG" / "Ground Truth" / path.name), cv2.IMREAD_GRAYSCALE)
            yield path.stem, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), mask > 128
    elif source == "kseg":
        for path in (folder / "Kvasir-SEG" / "images").iterdir():
            mask = cv2.imread(str(folder / "Kvasir-SEG" / "masks" / path.name), cv2.IMREAD_GRAYSCALE)
            yield path.stem, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), mask > 127
    elif source == "refuge2":
        for path in folder.rglob("*.jpg"):
            (found,) = folder.rglob(f"{path.stem}.bmp")
            mask = cv2.imread(str(found), cv2.IMREAD_GRAYSCALE)
            yield path.stem, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), mask < 100
    elif source == "lidc":
        for case in find_cases(SOURCES[source], folder):
            voxels = np.asarray(pydicom.dcmread(case.image).pixel_array).astype(np.float64) - 1024
            readers = [read_outlined(path, case.image, name)[:, :, 0].T > 0 for name, path in case.annotations]
            yield case.id, np.clip((voxels + 1000) / 1400 * 255, 0, 255).astype(np.uint8), np.any(readers, axis=0)
    else:
        low, high = next(iter(SOURCES[source].windows.values()))
        images, labels = {
            "btcv": ("RawData/Training/img/img{}.nii.gz", "RawData/Training/label/label{}.nii.gz"),
            "sts": ("labelled/image/Teeth_{}_0000.nii.gz", "labelled/label/Teeth_{}_0000.nii.gz"),
        }[source]
        for row in read_split(folder):
            voxels = read_volume(folder / images.format(row["id"])).astype(np.float64)
            grey = np.clip((voxels - low) / (high - low) * 255, 0, 255).astype(np.uint8)
            yield row["id"], grey, read_volume(folder / labels.format(row["id"])) > 0


def otsu_dice(grey: np.ndarray, mask: np.ndarray) -> float:
    """Dice of OpenCV's own Otsu threshold over the whole case, of the better polarity."""
    level, _ = cv2.threshold(grey.reshape(-1, 1), 0, 255, cv2.THRESH_OTSU)
    bright = grey > level
    return max(2 * (side & mask).sum() / (side.sum() + mask.sum()) for side in (bright, ~bright))


@pytest.mark.parametrize("source", PHANTOM_SOURCES)
def test_every_case_of_the_split_has_its_files_and_no_other(source, built):
    folder = built(source)
    assert sorted(case for case, _, _ in pairs(source, folder)) == sorted(row["id"] for row in read_split(folder))


@pytest.mark.parametrize("source", PHANTOM_SOURCES)
def test_splits_are_all_there_and_share_no_group(source, built):
    rows = read_split(built(source))
    groups = {split: {row["group"] for row in rows if row["split"] == split} for split in ("train", "val", "test")}
    assert all(len(found) >= 2 for found in groups.values())
    assert sum(map(len, groups.values())) == len(set().union(*groups.values()))
    assert {row["split"] for row in rows} == {"train", "val", "test"}


@pytest.mark.parametrize("source", PHANTOM_SOURCES)
def test_a_threshold_does_not_solve_it(source, built):
    assert np.mean([otsu_dice(grey, mask) for _, grey, mask in pairs(source, built(source))]) < 0.75


@pytest.mark.parametrize("source", PHANTOM_SOURCES)
def test_the_target_is_never_tiny(source, built):
    least = 0.001 if source == "lidc" else 0.05  # nodules of 3 to 10 pixels
    assert min(mask.mean() for _, _, mask in pairs(source, built(source))) > least


@pytest.mark.parametrize("source", PHANTOM_SOURCES)
def test_target_and_background_overlap_in_brightness(source, built):
    """No single brightness parts them: the middle of the target's values lies well within the background's."""
    for _, grey, mask in pairs(source, built(source)):
        low, high = np.percentile(grey[~mask], (5, 100))
        inside = (grey[mask] >= low) & (grey[mask] <= high)
        assert inside.mean() > 0.5


@pytest.mark.parametrize("source", PHANTOM_SOURCES)
def test_same_seed_same_bytes_whatever_the_number_of_cases(source, built, tmp_path):
    write_phantoms(source, tmp_path, seed=3, scale=0.01)
    pictures = [path for path in tmp_path.rglob("*.*") if path.is_file() and path.suffix not in (".csv", ".json")]
    assert len(pictures) >= 2 * 6
    for path in pictures:
        assert path.read_bytes() == (built(source) / path.relative_to(tmp_path)).read_bytes()


def test_another_seed_gives_other_pictures(built, tmp_path):
    write_phantoms("cvc", tmp_path, seed=4, scale=0.01)
    name = Path("PNG", "Original", "1.png")
    assert (tmp_path / name).read_bytes() != (built("cvc") / name).read_bytes()


def test_the_record_says_what_was_asked_for(built):
    record = json.loads((built("kseg") / "phantom.json").read_text(encoding="utf-8"))
    assert (record["source"], record["seed"], record["scale"]) == ("kseg", 3, 0.1)
    assert sum(record["cases"].values()) == len(read_split(built("kseg"))) == record["groups"]


def test_cvc_numbers_frames_through_and_keeps_sequences_together(built):
    folder = built("cvc")
    rows = read_split(folder)
    assert [row["id"] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [line["sequence_id"] for line in table] == [row["group"] for row in rows]
    assert all((folder / line["png_image_path"]).is_file() for line in table)
    images = folder / "PNG" / "Original"
    first, second, other = (cv2.imread(str(images / f"{name}.png")).astype(float) for name in (1, 2, 3))
    assert rows[0]["group"] == rows[1]["group"] != rows[2]["group"]
    assert np.abs(first - second).mean() < 0.6 * np.abs(first - other).mean()
    assert not np.array_equal(first, second)
    mask = cv2.imread(str(folder / "PNG" / "Ground Truth" / "1.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (144, 192)
    assert set(np.unique(mask)) == {0, 255}


def test_kseg_masks_are_jpeg_with_the_real_ones_values(built):
    folder = built("kseg") / "Kvasir-SEG"
    sizes, values = set(), set()
    for path in (folder / "masks").iterdir():
        assert re.fullmatch(r"cju[0-9a-z]{22}\.jpg", path.name)
        assert path.read_bytes()[:3] == b"\xff\xd8\xff"
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert cv2.imread(str(folder / "images" / path.name)).shape[:2] == mask.shape
        sizes.add(mask.shape)
        values |= set(np.unique(mask).tolist())
    assert len(sizes) > 10
    assert len(values) > 2
    assert values <= {*range(8), *range(248, 256)}


def test_refuge2_cup_lies_in_the_disc_and_is_larger_in_glaucoma(built):
    folder = built("refuge2")
    ratios: dict[str, list[float]] = {"g": [], "n": []}
    for path in (folder / "Annotation-Training400" / "Disc_Cup_Masks").rglob("*.bmp"):
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask.ndim == 2
        assert set(np.unique(mask)) == {0, 128, 255}
        cup, disc = mask < 100, mask < 200
        around = cv2.dilate(cup.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert not (around & ~disc).any()
        ratios[path.stem[0]].append(cup.any(axis=1).sum() / disc.any(axis=1).sum())  # vertical cup-to-disc ratio
    assert np.mean(ratios["g"]) > np.mean(ratios["n"]) + 0.05
    assert 0.4 < min(map(min, ratios.values())) < max(map(max, ratios.values())) < 0.9
    for place in ("Training400/Glaucoma/g0001", "Training400/Non-Glaucoma/n0001", "REFUGE-Validation400/V0001"):
        assert (folder / f"{place}.jpg").is_file()
    assert (folder / "REFUGE-Validation400-GT" / "Disc_Cup_Masks" / "V0001.bmp").is_file()
    assert (folder / "REFUGE-Test-GT" / "Disc_Cup_Masks" / "G" / "T0001.bmp").is_file()
    assert (folder / "REFUGE-Test-GT" / "Disc_Cup_Masks" / "N" / "T0002.bmp").is_file()


def test_btcv_has_every_organ_in_hounsfield_units(built):
    folder = built("btcv") / "RawData" / "Training"
    codes, spacings = set(), set()
    for row in read_split(built("btcv")):
        image, label = (
            nib.load(folder / "img" / f"img{row['id']}.nii.gz"),
            nib.load(folder / "label" / f"label{row['id']}.nii.gz"),
        )
        assert image.get_data_dtype() == np.int16
        np.testing.assert_allclose(image.affine, label.affine)
        codes.add("".join(nib.aff2axcodes(image.affine)))
        spacings.add(image.header.get_zooms())
        voxels, labels = np.asarray(image.dataobj), np.asarray(label.dataobj)
        assert set(np.unique(labels)) == set(range(14))
        assert np.bincount(labels.ravel()).min() >= 30
        assert np.median(voxels[0]) < -900  # air beside the body
        assert 0 < np.median(voxels[labels == 6]) < 160  # liver
        gas = voxels[labels == 7] < -500
        assert 0.01 < gas.mean() < 0.6  # gas in the stomach
        assert (voxels > 250).mean() > 0.003  # bone
        # Right is right: the liver lies on the patient's right, the spleen on the left, whatever the axes.
        right = [
            nib.affines.apply_affine(image.affine, np.argwhere(labels == organ).mean(axis=0))[0] for organ in (6, 1)
        ]
        assert right[0] > 0 > right[1]
    assert "RAS" not in codes
    assert len(codes) > 1
    assert len(spacings) > 1
    assert all(zooms[2] != zooms[0] for zooms in spacings)


def test_sts_spans_the_scanners_range_with_two_labels(built):
    folder = built("sts") / "labelled"
    highest = []
    for path in (folder / "image").iterdir():
        voxels, labels = read_volume(path), read_volume(folder / "label" / path.name)
        assert voxels.shape == labels.shape
        assert set(np.unique(labels)) == {0, 1}
        assert voxels.min() == -1000
        assert np.median(voxels[labels == 1]) > 1100
        assert (labels.any(axis=(0, 1))).mean() > 0.5
        highest.append(voxels.max())
    assert max(highest) == 3095


@pytest.mark.parametrize("source", ["btcv", "sts"])
def test_gzip_headers_hold_neither_time_nor_name(source, built):
    for path in built(source).rglob("*.nii.gz"):
        head = path.read_bytes()[:8]
        assert head[3] == 0
        assert head[4:8] == bytes(4)


@pytest.mark.parametrize("count", [3, 5, 6, 10, 29, 300])
def test_share_out_leaves_no_split_empty(count):
    shared = share_out(count, 0.1, 0.17)
    assert len(shared) == count
    assert shared == sorted(shared, key=("train", "val", "test").index)
    assert min(shared.count(split) for split in ("train", "val", "test")) >= (2 if count >= 6 else 1)


def test_unknown_source_is_named_with_the_nearest_one(tmp_path):
    with pytest.raises(UserError, match="unknown dataset source 'refuge', did you mean 'refuge2'"):
        write_phantoms("refuge", tmp_path, seed=0, scale=1)
    assert not list(tmp_path.iterdir())
