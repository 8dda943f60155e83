"""How files lie, told from their names; what masks mean, told from their values."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sdseg.core.errors import UserError
from sdseg.datasets.find_layout import find_layout, sources_lying_so
from sdseg.datasets.mask_meaning import meaning_of
from sdseg.datasets.name_pairs import pair_names
from tests.helpers.raw_files import encode

NAMES = ("a1", "a2", "b12")


def blob(value: int = 255) -> np.ndarray:
    mask = np.zeros((12, 16), np.uint8)
    mask[4:8, 4:9] = value
    return mask


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def files(folder: Path, names: tuple[str, ...], pixels: np.ndarray) -> None:
    for name in names:
        encode(folder / f"{name}.png", pixels)


@pytest.mark.parametrize(
    ("images", "masks", "agree"),
    [
        (("1", "2"), ("1", "2"), 2),
        (("case7", "case8"), ("case7_mask", "case8_mask"), 2),
        (("img0001", "img0005"), ("label0001", "label0005"), 2),
        (("case11", "case21"), ("case11_1", "case21_1"), 2),
        (("a_0000", "b_0000"), ("a", "b"), 2),
        (("p1_left", "p1_right"), ("p1_left_mask", "p1_right_mask"), 2),
        (("p7",), ("p7_seg",), 1),
        (("a", "b"), ("c", "d"), 0),
        (("a", "b", "c"), ("a_m", "b_m"), 2),
    ],
)
def test_names_that_belong_together(images: tuple[str, ...], masks: tuple[str, ...], agree: int) -> None:
    pair = pair_names(images, masks)
    assert pair.common == agree
    ids = []
    for names, pattern in ((images, pair.first_pattern), (masks, pair.second_pattern)):
        matches = [re.fullmatch(pattern or "(?P<id>.+)", name) for name in names]
        ids.append({match["id"] for match in matches if match})
    assert len(ids[0] & ids[1]) == agree


def test_only_whole_words_are_taken_off() -> None:
    pair = pair_names(("p1_left", "p1_right"), ("p1_left_mask", "p1_right_mask"))
    assert (pair.first_pattern, pair.second_pattern) == (None, "(?P<id>.+)_mask")


def test_two_folders_by_their_names_or_by_what_they_hold(tmp_path: Path) -> None:
    files(tmp_path / "x", NAMES, noise())
    files(tmp_path / "y", NAMES, blob())
    assert find_layout(tmp_path).places == {"images": "x", "masks": "y"}
    files(tmp_path / "deep" / "Ground Truth", tuple(f"{name}_seg" for name in NAMES), blob())
    layout = find_layout(tmp_path, images="x", masks="deep/Ground Truth")
    assert layout.places == {"images": "x", "masks": "deep/Ground Truth", "mask_name": "(?P<id>.+)_seg"}
    assert layout.ignored == ("y",)
    with pytest.raises(UserError, match="no images or volumes in 'z'"):
        find_layout(tmp_path, images="z")


def test_a_table_goes_before_folders(tmp_path: Path) -> None:
    files(tmp_path / "images", NAMES, noise())
    (tmp_path / "cases.csv").write_text("image,mask\nimages/a1.png,images/a2.png\n", encoding="utf-8")
    assert find_layout(tmp_path).places == {"table": "cases.csv"}
    (tmp_path / "more.csv").write_text("mask,image\na.nii.gz,b.nii.gz\n", encoding="utf-8")
    with pytest.raises(UserError, match="2 tables"):
        find_layout(tmp_path)
    (tmp_path / "cases.csv").write_text("image,mask\na.png,b.png\na.nii.gz,b.nii.gz\n", encoding="utf-8")
    (tmp_path / "more.csv").unlink()
    with pytest.raises(UserError, match="mixed kinds"):
        find_layout(tmp_path)


def test_what_may_be_meant_two_ways_is_asked(tmp_path: Path) -> None:
    for part in ("train", "test"):
        files(tmp_path / part / "images", NAMES, noise())
        files(tmp_path / part / "masks", NAMES, blob())
    with pytest.raises(UserError, match=r"2 pairs of folders(.|\n)*'test/images', masks in 'test/masks'(.|\n)*a table"):
        find_layout(tmp_path)
    assert sources_lying_so(tmp_path) == ()


def test_masks_of_several_annotators_are_found_where_the_user_says_so(tmp_path: Path) -> None:
    files(tmp_path / "photos", NAMES, noise())
    for name in ("anna", "Ben"):
        files(tmp_path / "masks" / name, NAMES if name == "anna" else NAMES[:2], blob())
    with pytest.raises(UserError, match="no masks of several annotators: masks lie in 'masks/anna'"):
        find_layout(tmp_path, masks="masks/anna", annotators=True)
    everyone = {"anna": "masks/anna", "ben": "masks/Ben"}
    for masks in (None, "masks"):
        layout = find_layout(tmp_path, masks=masks, annotators=True)
        assert layout.places == {"images": "photos", "annotators": everyone}
    files(tmp_path / "masks" / "anna", ("a3", "a4"), blob())
    files(tmp_path / "masks" / "Ben", ("b12", "a3"), blob())
    with pytest.raises(UserError, match="2 pairs of folders") as refusal:
        find_layout(tmp_path)
    assert "several people drew the masks: --annotators" in str(refusal.value.remedy)
    assert "each case has a folder: patterns, images: '{id}/{id}_t1.nii.gz'" in str(refusal.value.remedy)


def test_annotators_told_by_names_and_columns(tmp_path: Path) -> None:
    files(tmp_path / "images", NAMES, noise())
    files(tmp_path / "drawn", tuple(f"{name}_{end}" for name in NAMES for end in ("anna", "ben")), blob())
    with pytest.raises(UserError, match=r"several masks of each image in 'drawn', by the ends .*: anna, ben"):
        find_layout(tmp_path)
    pattern = "(?P<id>.+)_(?P<annotator>[^_]+)"
    layout = find_layout(tmp_path, annotators=True)
    assert layout.places == {"images": "images", "masks": "drawn", "mask_name": pattern}
    table = tmp_path / "cases.csv"
    table.write_text("image,mask_anna,mask_ben\nimages/a1.png,drawn/a1_anna.png,drawn/a1_ben.png\n", encoding="utf-8")
    with pytest.raises(UserError, match="several masks of each image, and no column mask: mask_anna, mask_ben"):
        find_layout(tmp_path)
    columns = {"anna": "mask_anna", "ben": "mask_ben"}
    assert find_layout(tmp_path, annotators=True).places == {"table": "cases.csv", "annotators": columns}


def test_folders_without_masks_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="folder is missing"):
        find_layout(tmp_path / "none")
    with pytest.raises(UserError, match="no images and no volumes"):
        find_layout(tmp_path)
    files(tmp_path / "images", NAMES, noise())
    with pytest.raises(UserError, match=r"images without masks: 'images' alone holds images \(3\)"):
        find_layout(tmp_path)
    files(tmp_path / "masks", ("other",), blob())
    with pytest.raises(UserError, match="no two of the folders"):
        find_layout(tmp_path)
    (tmp_path / "masks" / "other.png").rename(tmp_path / "images" / "a1_mask.png")
    with pytest.raises(UserError, match="images and masks lie in one folder"):
        find_layout(tmp_path)
    (tmp_path / "volumes").mkdir()
    (tmp_path / "volumes" / "a1.nii.gz").touch()
    with pytest.raises(UserError, match=r"mixed kinds: images in 'images'; volumes in 'volumes'"):
        find_layout(tmp_path)
    (tmp_path / "images" / "a1.nii.gz").touch()
    with pytest.raises(UserError, match=r"images \(a1\) and volumes \(a1\) lie in one folder"):
        find_layout(tmp_path)


@pytest.mark.parametrize(
    ("shares", "images", "labels", "values", "lossy"),
    [
        ({0: 0.9, 1: 0.1}, True, [1], {}, False),
        ({0: 0.9, 255: 0.1}, True, [1], {255: 1}, False),
        ({0: 0.8, 128: 0.1, 255: 0.1}, True, [1, 2], {128: 1, 255: 2}, False),
        ({0: 0.1, 255: 0.9}, True, [1], {0: 1, 255: 0}, False),  # black and white swapped
        ({0: 0.8, 3: 0.02, 5: 0.0001, 250: 0.02, 254: 0.01, 255: 0.1499}, True, [1], {255: 1}, True),  # JPEG
        ({0: 0.8, **dict.fromkeys(range(1, 41), 0.005)}, True, [1], {"nonzero": 1}, False),  # numbers of cells
        ({0: 0.8, **dict.fromkeys(range(1, 41), 0.005)}, False, list(range(1, 41)), {}, False),  # structures of a CT
        ({0: 0.8, 1: 0.1, 4: 0.1}, False, [1, 4], {}, False),
        ({0: 0.9, 1000: 0.1}, False, [1], {1000: 1}, False),
    ],
)
def test_values_of_masks_as_labels(
    shares: dict[int, float], images: bool, labels: list[int], values: dict[int | str, int], lossy: bool
) -> None:
    meaning = meaning_of(shares, 0.99, images=images, where=Path("masks"))
    assert (list(meaning.labels), dict(meaning.mask_values), meaning.lossy) == (labels, values, lossy)
    for value, label in values.items():
        assert meaning.label_of(7 if value == "nonzero" else int(value)) == label


def test_what_are_no_masks() -> None:
    with pytest.raises(UserError, match="every mask is empty"):
        meaning_of({0: 1.0}, 1.0, images=True, where=Path())
    picture = dict.fromkeys(range(256), 1 / 256)
    with pytest.raises(UserError, match=r"too many values: 255 besides 0 \(1, 2,"):
        meaning_of(picture, 0.1, images=True, where=Path())
    with pytest.raises(UserError, match="too many values: 13"):
        meaning_of({0: 0.5, **{20 * each: 0.03 for each in range(1, 14)}}, 0.9, images=True, where=Path())
