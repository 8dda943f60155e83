"""Datasets of the user's own: their files found and paired, their masks understood, every fault named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdseg.config.dataset import Dataset
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import ListedError, UserError
from sdseg.core.settings import parse
from sdseg.data.read_case import read_case
from sdseg.datasets.raw_cases import open_raw
from sdseg.datasets.source_lookup import known_source, makes_split
from tests.helpers.raw_files import contract, encode, picture, save, write_btcv, write_kseg, write_series

FOLDERS = {"layout": "folders", "modality": "rgb", "images": "bilder ä", "masks": "masken", "labels": {1: "polyp"}}
NNUNET = {"layout": "nnunet", "modality": "rgb"}
VOLUMES = {"layout": "nnunet", "modality": "ct", "windows": {"soft": [-100, 200]}}
TABLE = {"layout": "table", "modality": "rgb", "table": "fälle.csv", "labels": {1: "polyp"}, "mask_values": {255: 1}}
V2 = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "tumour": 2}, "file_ending": ".nii.gz"}
V2_IMAGES = {"channel_names": {"0": "R"}, "labels": {"background": 0, "polyp": 1}, "file_ending": ".png"}


def settings(base: dict[str, Any], **changes: Any) -> Dataset:
    return parse(Dataset, {"source": "own", "own": {**base, **changes}}, where="my.yaml")


def ids(dataset: Dataset, raw: Path) -> list[str]:
    return [case.id for case in open_raw(dataset, raw)[1]]


def labels(dataset: Dataset, raw: Path, size: int = 30) -> AnyArray:
    """Label ids that occur in the first case."""
    source, cases = open_raw(dataset, raw)
    return np.unique(read_case(source, cases[0], contract(source, size)).masks)


def write_folders(raw: Path, names: tuple[str, ...] = ("a", "b"), level: int = 255, grey: bool = False) -> Path:
    for number, name in enumerate(names):
        image, mask = picture(number, 30, 30)
        encode(raw / "bilder ä" / f"{name}.png", image[..., 0] if grey else image)
        encode(raw / "masken" / f"{name}.png", mask // 255 * level)
    return raw


def test_a_modality_that_contradicts_the_files_of_a_folder(tmp_path: Path) -> None:
    raw = write_folders(tmp_path)
    for name in ("a", "b"):
        save(raw / "volumes" / f"{name}.nii.gz", np.zeros((4, 4, 2), np.int16))
    with pytest.raises(UserError, match=r"files end in '.png', and 'modality: mr' is for volumes(.|\n)*modality: rgb"):
        open_raw(settings(FOLDERS, modality="mr"), raw)
    with pytest.raises(UserError, match=r"files end in '.nii.gz', and 'modality: rgb' is for images"):
        open_raw(settings(FOLDERS, images="volumes"), raw)


def write_nnunet(raw: Path, description: dict[str, Any], names: tuple[str, ...] = ("x_1", "x_2")) -> Path:
    ending = description.get("file_ending", ".nii.gz")
    for number, name in enumerate(names):
        image, mask = picture(number, 30, 30)
        if ending == ".nii.gz":
            save(raw / "imagesTr" / f"{name}_0000{ending}", np.full((5, 4, 3), 40, np.int16))
            save(raw / "labelsTr" / f"{name}{ending}", np.ones((5, 4, 3), np.uint8))
        else:
            encode(raw / "imagesTr" / f"{name}_0000{ending}", image)
            encode(raw / "labelsTr" / f"{name}{ending}", mask // 255)
    (raw / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    return raw


def write_table(raw: Path, text: str) -> Path:
    write_folders(raw, ("p1 é_a", "p1 é_b", "p2_a"))
    (raw / "fälle.csv").write_text(text, encoding="utf-8-sig")
    return raw


# Paired folders


def test_folders_are_paired_by_name(tmp_path: Path) -> None:
    source, cases = open_raw(settings(FOLDERS, title="My polyps"), write_folders(tmp_path, ("b 10", "b 9")))
    assert [case.id for case in cases] == ["b 9", "b 10"]
    assert cases[0].label == tmp_path / "masken" / "b 9.png"
    assert (source.name, source.title, source.modality) == ("own", "My polyps", "rgb")
    target, structures = source.target(None)
    assert (target, [(one.name, one.values) for one in structures]) == ("all", [("polyp", (1,))])


def test_parts_of_names_pair_and_group(tmp_path: Path) -> None:
    write_folders(tmp_path, ("p1_a", "p1_b", "p2_a"))
    for path in sorted((tmp_path / "masken").iterdir()):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    dataset = settings(FOLDERS, mask_name="(?P<id>.+)_mask", group_pattern=r"^(p\d+)_")
    assert {case.id: case.group for case in open_raw(dataset, tmp_path)[1]} == {
        "p1_a": "p1",
        "p1_b": "p1",
        "p2_a": "p2",
    }
    with pytest.raises(ListedError, match=r"finds no group in 1 of 3 ids:\n  - p2_a"):
        open_raw(settings(FOLDERS, mask_name="(?P<id>.+)_mask", group_pattern="^(p1)_"), tmp_path)
    with pytest.raises(ListedError, match=r"mask without image: masken/p1_a_mask\.png"):
        open_raw(settings(FOLDERS), tmp_path)


@pytest.mark.parametrize(
    ("level", "changes"), [(1, {}), (255, {"mask_values": {255: 1}}), (7, {"mask_values": {7: 1}})]
)
def test_grey_images_and_mask_values(tmp_path: Path, level: int, changes: dict[str, Any]) -> None:
    raw = write_folders(tmp_path, level=level, grey=True)
    dataset = settings(FOLDERS, **changes)
    assert labels(dataset, raw).tolist() == [0, 1]
    source, cases = open_raw(dataset, raw)
    image = read_case(source, cases[0], contract(source, 30)).images
    np.testing.assert_array_equal(image, picture(0, 30, 30)[0][None, ..., :1].repeat(3, -1))


def test_mask_values_that_are_not_declared_are_named(tmp_path: Path) -> None:
    raw = write_folders(tmp_path, level=255)
    with pytest.raises(
        UserError, match=r"(?s)values 255 are not declared; declared are 0, 1\n.*masken/a\.png.*'labels'"
    ):
        labels(settings(FOLDERS), raw)


def test_several_values_may_mean_one_label_or_background(tmp_path: Path) -> None:
    write_folders(tmp_path, ("a",))
    encode(tmp_path / "masken" / "a.png", np.repeat([[0, 10, 20, 30, 200]], 5, 0).astype(np.uint8))
    encode(tmp_path / "bilder ä" / "a.png", np.zeros((5, 5, 3), np.uint8))
    dataset = settings(FOLDERS, labels={1: "a", 2: "b"}, mask_values={10: 1, 20: 2, 30: 2, 200: 0})
    source, cases = open_raw(dataset, tmp_path)
    assert read_case(source, cases[0], contract(source, 5)).masks[0, 0].tolist() == [0, 1, 2, 2, 0]


def test_jpeg_masks_need_a_word(tmp_path: Path) -> None:
    raw = write_kseg(tmp_path, ["a"])
    places = {"images": "Kvasir-SEG/images", "masks": "Kvasir-SEG/masks", "mask_values": {255: 1}}
    with pytest.raises(UserError, match="set 'lossy_masks: true' where masks are JPEG"):
        labels(settings(FOLDERS, **places), raw)
    dataset = settings(FOLDERS, **places, lossy_masks=True)
    assert labels(dataset, raw).tolist() == [0, 1]
    known = parse(Dataset, {"source": "kseg"}, where="x")
    own, theirs = (
        read_case(source, cases[0], contract(source, 40))
        for source, cases in (open_raw(each, raw) for each in (dataset, known))
    )
    np.testing.assert_array_equal(own.masks, theirs.masks)


def test_missing_partners_and_folders(tmp_path: Path) -> None:
    raw = write_folders(tmp_path)
    (raw / "masken" / "b.png").unlink()
    with pytest.raises(ListedError, match=r"image without mask: bilder ä/b\.png \(expected in masken\)"):
        open_raw(settings(FOLDERS), raw)
    with pytest.raises(UserError, match=r"no files of own data where they are expected; .*holds bilder ä, masken"):
        open_raw(settings(FOLDERS, images="x", masks="y"), raw)
    with pytest.raises(
        UserError, match=r"(?s)raw folder of own data is missing.*lay your files there as pairs of files"
    ):
        open_raw(settings(FOLDERS), raw / "nowhere")


# DICOM and NIfTI volumes


CT = {
    "layout": "folders",
    "modality": "ct",
    "images": "ct",
    "masks": "labels",
    "labels": {1: "organ"},
    "windows": {"soft": [-100, 200]},
}


def test_a_folder_among_the_images_is_a_dicom_series(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(-900, 900, (6, 5, 4)).astype(np.int16)
    affine = np.diag([-2.0, -3.0, 5.0, 1.0])
    affine[:3, 3] = [-10, 20, -30]
    mask = (voxels > 0).astype(np.uint8)
    write_series(tmp_path / "ct" / "p2", voxels)
    shutil.copytree(tmp_path / "ct" / "p2", tmp_path / "ct" / "patient 1")
    for name in ("patient 1", "p2"):
        save(tmp_path / "labels" / f"{name}.nii.gz", mask, affine)
    save(tmp_path / "ct" / "p3.nii.gz", voxels, affine)
    save(tmp_path / "labels" / "p3.nii", mask, affine)
    source, cases = open_raw(settings(CT), tmp_path)
    assert [case.id for case in cases] == ["p2", "p3", "patient 1"]
    assert [len(case.image_files) for case in cases] == [4, 1, 4]
    assert len({case.checksum for case in cases}) == 2
    first, second, _ = (read_case(source, case, contract(source, 6)) for case in cases)
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.masks, second.masks)
    assert source.window(None) == (-100.0, 200.0)


def test_the_real_series_with_its_label(samples: Path, tmp_path: Path) -> None:
    folder = samples / "btcv" / "RawData" / "Training"
    for kind, target, origin in (
        ("ct", "0005", samples / "dicom_ct"),
        ("ct", "twin.nii.gz", folder / "img" / "img0005.nii.gz"),
        ("labels", "0005.nii.gz", folder / "label" / "label0005.nii.gz"),
        ("labels", "twin.nii.gz", folder / "label" / "label0005.nii.gz"),
    ):
        (tmp_path / kind).mkdir(exist_ok=True)
        (tmp_path / kind / target).symlink_to(origin)
    dataset = settings(CT, labels={number: str(number) for number in range(1, 14)})
    source, cases = open_raw(dataset, tmp_path)
    series, twin = (read_case(source, case, contract(source, 128)) for case in cases)
    np.testing.assert_array_equal(series.images, twin.images)
    np.testing.assert_array_equal(series.masks, twin.masks)


def test_values_of_volumes_may_be_translated_too(tmp_path: Path) -> None:
    write_btcv(tmp_path, {"0001": 3})
    places = {"images": "RawData/Training/img", "masks": "RawData/Training/label"}
    names = {"image_name": r"img(?P<id>\d+)", "mask_name": r"label(?P<id>\d+)"}
    values = {number: 1 if number < 7 else 0 for number in range(1, 14)}
    dataset = settings(CT, **places, **names, mask_values=values)
    assert set(labels(dataset, tmp_path)) <= {0, 1}
    with pytest.raises(UserError, match=r"label values \[.*\]; own data has 0 to 1"):
        labels(settings(CT, **places, **names), tmp_path)


# nnU-Net


def test_nnunet_volumes_and_labels(tmp_path: Path) -> None:
    dataset = settings(VOLUMES, targets={"liver": {"organ": ["liver", "tumour"]}, "tumour": {"tumour": [2]}})
    assert known_source(dataset) is None
    source, cases = open_raw(dataset, write_nnunet(tmp_path, V2))
    assert [case.id for case in cases] == ["x_1", "x_2"]
    assert dict(source.labels) == {1: "liver", 2: "tumour"}
    assert [(one.name, one.values) for one in source.target("liver")[1]] == [("organ", (1, 2))]
    assert labels(dataset, tmp_path).tolist() == [1]


def test_nnunet_regions_become_overlapping_structures(tmp_path: Path) -> None:
    regions = {**V2, "labels": {"background": 0, "kidney": [1, 2, 3], "tumour": 2}, "regions_class_order": [1, 2]}
    source, _ = open_raw(settings(VOLUMES), write_nnunet(tmp_path, regions))
    assert [(one.name, one.values) for one in source.target(None)[1]] == [("kidney", (1, 2, 3)), ("tumour", (2,))]
    assert dict(source.labels) == {1: "label 1", 2: "tumour", 3: "label 3"}


def test_nnunet_of_version_1(tmp_path: Path) -> None:
    first = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"}, "numTraining": 2}
    assert dict(open_raw(settings(VOLUMES), write_nnunet(tmp_path, first))[0].labels) == {1: "liver"}


def test_nnunet_images(tmp_path: Path) -> None:
    assert labels(settings(NNUNET), write_nnunet(tmp_path, V2_IMAGES)).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({**V2_IMAGES, "labels": {}}, "'labels' is missing or no mapping"),
        ({**V2_IMAGES, "labels": {"background": 0, "polyp": "one"}}, "label 'polyp' is 'one'; a number"),
        ({**V2_IMAGES, "labels": {"background": 0, "polyp": 900}}, "label 'polyp' is 900"),
        ({**V2_IMAGES, "labels": {"background": 1, "polyp": 2}}, "label 0 must be 'background'"),
        ({**V2_IMAGES, "labels": {"polyp": 0}}, "label 0 must be 'background'"),
        ({**V2_IMAGES, "labels": {"background": 0}}, "no label but the background"),
        ({**V2_IMAGES, "labels": {"background": 0, "polyp": 1, "ignore": 2}}, "an 'ignore' label: here every pixel"),
        ({**V2_IMAGES, "file_ending": ".mha"}, r"'file_ending' is '\.mha'; known here: \.png"),
        ({**V2_IMAGES, "file_ending": ".nii.gz"}, r"files end in '\.nii\.gz', and 'modality: rgb' is for images"),
        ({**V2_IMAGES, "dataset": {}}, "it lists the files of each case in 'dataset'"),
    ],
)
def test_a_wrong_dataset_json_is_explained(tmp_path: Path, description: dict[str, Any], message: str) -> None:
    write_nnunet(tmp_path, V2_IMAGES)
    (tmp_path / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(UserError, match=rf"(?s){message}.*where: .*dataset\.json"):
        open_raw(settings(NNUNET), tmp_path)


def missing(raw: Path) -> None:
    (raw / "dataset.json").unlink()


def broken(raw: Path) -> None:
    (raw / "dataset.json").write_text("{", encoding="utf-8")


def listed(raw: Path) -> None:
    (raw / "dataset.json").write_text("[]", encoding="utf-8")


def channels(raw: Path) -> None:
    encode(raw / "imagesTr" / "x_1_0001.png", picture(0, 30, 30)[1])


def no_channel(raw: Path) -> None:
    (raw / "imagesTr" / "x_1_0000.png").rename(raw / "imagesTr" / "x_1.png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (missing, r"dataset\.json of nnU-Net is missing"),
        (broken, "no JSON: "),
        (listed, "a mapping is expected"),
        (channels, r"imagesTr holds channels up to _0001, and dataset\.json names 1 \(R\)"),
        (no_channel, r"file name not understood: imagesTr/x_1\.png"),
    ],
)
def test_a_broken_nnunet_folder_is_explained(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(write_nnunet(tmp_path, V2_IMAGES))
    with pytest.raises(UserError, match=message):
        open_raw(settings(NNUNET), tmp_path)


def test_targets_name_labels_of_dataset_json(tmp_path: Path) -> None:
    write_nnunet(tmp_path, V2)
    with pytest.raises(UserError, match="target 'x' names label 'livre', did you mean 'liver'"):
        open_raw(settings(VOLUMES, targets={"x": {"y": ["livre"]}}), tmp_path)


# A table

ROWS = [
    "bilder ä/p1 é_a.png,masken/p1 é_a.png",
    "bilder ä/p1 é_b.png,masken/p1 é_b.png",
    "bilder ä/p2_a.png,masken/p2_a.png",
]


def table(header: str, *extra: str) -> str:
    return "\n".join([header, *(f"{row}{more}" for row, more in zip(ROWS, extra or [""] * 3, strict=True))]) + "\n"


def test_a_table_names_everything(tmp_path: Path) -> None:
    text = table("image,mask,id,group,split,age", ",x1,p1,train,50", ",x2, p1 ,train,", ",x3,p2, test,61")
    source, cases = open_raw(settings(TABLE), write_table(tmp_path, text))
    assert [(case.id, case.group, case.split) for case in cases] == [
        ("x1", "p1", "train"),
        ("x2", "p1", "train"),
        ("x3", "p2", "test"),
    ]
    assert cases[2].image == tmp_path / "bilder ä" / "p2_a.png"
    assert read_case(source, cases[0], contract(source, 16)).masks.max() == 1


def test_ids_are_the_names_of_the_images(tmp_path: Path) -> None:
    raw = write_table(tmp_path, table("image,mask"))
    assert ids(settings(TABLE), raw) == ["p1 é_a", "p1 é_b", "p2_a"]
    dataset = settings(TABLE, group_pattern="^(p.)")
    assert [case.group for case in open_raw(dataset, raw)[1]] == ["p1", "p1", "p2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table("image,label"), "column 'mask' is missing; found are image, label"),
        ("", "column 'image' is missing; found are none"),
        ("image,mask\n", "no line below the first"),
        (table("image,mask,gruop", ",a", ",b", ",c"), "unknown column 'gruop', did you mean 'group'"),
        (table("image,mask,Split", ",a", ",b", ",c"), "unknown column 'Split', did you mean 'split'"),
        (table("image,mask,id", ",x", ",y", ",x"), "line 4: id 'x' again"),
        (table("image,mask,split", ",train", ",tset", ",val"), "line 3: unknown split 'tset', did you mean 'test'"),
        (table("image,mask,split", ",train", ",", ",val"), "2 of 3 cases have a split: give all of them one"),
        (table("image,mask,group", ",a", ",", ",b"), "line 3: no group"),
        (table("image,mask").replace("p2_a", "p3"), "line 4: image 'bilder ä/p3.png' is missing"),
        (table("image,mask").replace("masken/p2_a", "../x"), "line 4: mask '../x.png' does not lie below the raw"),
        (table("image,mask").replace("masken/p2_a.png", ""), "line 4: no mask"),
        (table("image,mask").replace("masken/p2_a.png", "fälle.csv"), "line 4: mask 'fälle.csv' does not end in .png"),
        (table("image;mask").replace(",", ";"), "column 'image' is missing; found are image;mask"),
        (table("image,mask", ",1", "", ""), "line 2: 3 values"),
    ],
)
def test_a_wrong_table_is_named_line_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ListedError, match=r"fälle\.csv") as caught:
        open_raw(settings(TABLE), write_table(tmp_path, text))
    assert any(message in problem for problem in caught.value.problems), caught.value.problems
    assert "fälle.csv" in str(caught.value)


def test_other_troubles_of_tables(tmp_path: Path) -> None:
    raw = write_table(tmp_path, table("image,mask,group", ",a", ",b", ",c"))
    with pytest.raises(ListedError, match="'group_pattern' is set and the table has a column 'group'"):
        open_raw(settings(TABLE, group_pattern="^(p.)"), raw)
    with pytest.raises(UserError, match="the table of cases is missing"):
        open_raw(settings(TABLE, table="no.csv"), raw)
    (raw / "fälle.csv").write_bytes(b"image,mask\n\xff,\xfe\n")
    with pytest.raises(UserError, match="cannot read the table"):
        open_raw(settings(TABLE), raw)


# Whose split is made


def test_which_splits_are_made() -> None:
    assert makes_split(settings(TABLE))
    assert not makes_split(settings(TABLE).model_copy(update={"split_file": "s.csv"}))
    made = {name: makes_split(Dataset(source=name)) for name in ("kseg", "cvc", "isic2018", "sts-zenodo")}
    assert made == {"kseg": False, "cvc": False, "isic2018": True, "sts-zenodo": True}
    assert makes_split(Dataset(source="lidc"))
    assert not makes_split(Dataset(source="lidc", origin="phantom"))  # they bring their own


# Numbers of objects


def write_objects(raw: Path, kind: str, count: int) -> None:
    """Squares numbered from 1, in two cases: PNG of 16 bits, or NIfTI."""
    side = 40
    numbers = np.zeros((side, side), np.uint16)
    for number in range(count):
        numbers[number // side, number % side] = number + 1
    for name in ("a", "b"):
        if kind == "png":
            encode(raw / "bilder ä" / f"{name}.png", picture(1, side, side)[0])
            encode(raw / "masken" / f"{name}.png", numbers)
        else:
            save(raw / "bilder ä" / f"{name}.nii.gz", np.full((side, side, 2), 40, np.int16))
            save(raw / "masken" / f"{name}.nii.gz", np.stack([numbers, numbers], axis=2))


@pytest.mark.parametrize("kind", ["png", "nifti"])
@pytest.mark.parametrize(
    ("values", "labels", "expected"),
    [
        ({"nonzero": 1}, {1: "cell"}, [1] * 700),
        ({"1-300": 1, "301-700": 2}, {1: "cell", 2: "nucleus"}, [1] * 300 + [2] * 400),
        ({5: 0, "10-20": 2, "nonzero": 1}, {1: "cell", 2: "nucleus"}, [1] * 4 + [0] + [1] * 4 + [2] * 11 + [1] * 680),
    ],
)
def test_numbers_of_objects_are_taken_for_labels(
    tmp_path: Path, kind: str, values: dict[Any, int], labels: dict[int, str], expected: list[int]
) -> None:
    write_objects(tmp_path, kind, 700)
    own = {"labels": labels, "mask_values": values}
    if kind == "nifti":
        own |= {"modality": "ct", "windows": {"soft": [-100, 200]}}
    dataset = settings(FOLDERS, **own)
    source, cases = open_raw(dataset, tmp_path)
    reading = read_case(source, cases[0], contract(source, 40))
    found = reading.masks[0] if kind == "png" else reading.masks[0][::-1, ::-1].T[::-1, ::-1]
    assert found.ravel()[:700].tolist() == expected
    areas = {label: expected.count(label) / 1600 for label in labels}
    assert dict(reading.facts.areas) == pytest.approx(areas)


def test_undeclared_numbers_lead_to_advice_that_works(tmp_path: Path) -> None:
    write_objects(tmp_path, "nifti", 30)
    own = {"modality": "ct", "windows": {"soft": [-100, 200]}}
    for values in ({}, {1: 1}):
        source, cases = open_raw(settings(FOLDERS, **own, mask_values=values), tmp_path)
        with pytest.raises(UserError, match="nonzero"):
            read_case(source, cases[0], contract(source, 40))
    source, cases = open_raw(settings(FOLDERS, **own, mask_values={"nonzero": 1}), tmp_path)
    assert read_case(source, cases[0], contract(source, 40)).masks.max() == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"1-40": 1, 7: 0}, "declares 7 twice: in 1-40 and in 7-7"),
        ({"1-40": 1, "40-50": 1}, "declares 40 twice"),
        ({"40-1": 1}, "ranges that are none: 40-1"),
        ({"1-70000": 1}, "ranges that are none: 1-70000"),
        ({"all": 1}, "mask_values"),
        ({"nonzero": 2}, "lead to .2., which 'labels' do not name"),
    ],
)
def test_ranges_that_mean_nothing_are_refused(values: dict[Any, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings(FOLDERS, mask_values=values)
