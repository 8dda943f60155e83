from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sdseg.core.array_types import AnyArray
from sdseg.core.errors import ListedError, UserError
from sdseg.datasets.layouts import LAYOUTS, find_cases
from sdseg.datasets.sources import SOURCES
from tests.helpers.raw_files import encode, picture, save, write_btcv, write_cvc, write_kseg, write_refuge2

LEVEL = {"cvc": 255, "kseg": 255}


def ids(source: str, raw: Path) -> list[str]:
    return [case.id for case in find_cases(SOURCES[source], raw)]


def decode(source: str, grey: AnyArray) -> AnyArray:
    coding = SOURCES[source].coding
    assert coding is not None
    return coding.decode(np.asarray(grey, np.uint8), Path("mask.png"))


# Finding files


def test_every_source_has_a_layout_with_a_coding_where_masks_are_images() -> None:
    for source in SOURCES.values():
        assert LAYOUTS[source.name] or source.name == "lidc"  # its files lie anywhere
        assert (source.coding is not None) == (source.modality == "rgb")
        if source.coding:
            assert set(source.coding.ids) == {0, *source.labels}


def test_frames_are_counted_not_spelt(tmp_path: Path) -> None:
    cases = find_cases(SOURCES["cvc"], write_cvc(tmp_path, 11))
    assert [case.id for case in cases] == [str(number) for number in range(1, 12)]
    assert cases[9].image == tmp_path / "PNG" / "Original" / "10.png"
    assert cases[9].label == tmp_path / "PNG" / "Ground Truth" / "10.png"


def test_cvc_is_found_as_its_owner_ships_it(tmp_path: Path) -> None:
    image, mask = picture(0, 20, 30)
    for folder in (tmp_path, tmp_path / "CVC-ClinicDB"):
        encode(folder / "Original" / "7.tif", image)
        encode(folder / "Ground Truth" / "7.tif", mask)
        assert ids("cvc", tmp_path) == ["7"]
        shutil.rmtree(folder / "Original")
        shutil.rmtree(folder / "Ground Truth")


def test_the_preferred_arrangement_is_taken_whole(tmp_path: Path) -> None:
    write_cvc(tmp_path, 2)
    encode(tmp_path / "TIF" / "Original" / "3.tif", picture(0, 20, 30)[0])
    assert ids("cvc", tmp_path) == ["1", "2"]


def test_kvasir_with_and_without_its_outer_folder(tmp_path: Path) -> None:
    write_kseg(tmp_path, ["b", "a"])
    assert ids("kseg", tmp_path) == ids("kseg", tmp_path / "Kvasir-SEG") == ["a", "b"]


def test_refuge_parts_are_joined(tmp_path: Path) -> None:
    cases = {case.id: case for case in find_cases(SOURCES["refuge2"], write_refuge2(tmp_path))}
    assert sorted(cases) == ["T0001", "T0002", "V0001", "g0001", "n0001"]
    assert cases["T0002"].label == tmp_path / "REFUGE-Test-GT" / "Disc_Cup_Masks" / "N" / "T0002.bmp"


def test_refuge_as_mirrored_on_kaggle(tmp_path: Path) -> None:
    image, mask = picture(0, 20, 30)
    for part, name in (("train", "g0001"), ("val", "V0001"), ("test", "T0001")):
        encode(tmp_path / "REFUGE2" / part / "images" / f"{name}.jpg", image)
        encode(tmp_path / "REFUGE2" / part / "mask" / f"{name}.bmp", mask)
    assert ids("refuge2", tmp_path) == ["T0001", "V0001", "g0001"]


def test_volumes_are_paired_by_their_number(tmp_path: Path) -> None:
    cases = find_cases(SOURCES["btcv"], write_btcv(tmp_path, {"0001": 2, "0010": 3}))
    assert [(case.id, case.image.name, case.label.name) for case in cases] == [
        ("0001", "img0001.nii.gz", "label0001.nii.gz"),
        ("0010", "img0010.nii.gz", "label0010.nii.gz"),
    ]
    for kind in ("image", "label"):
        save(tmp_path / "labelled" / kind / "Teeth_0003_0000.nii.gz", np.zeros((3, 3, 3), np.int16))
    assert ids("sts", tmp_path) == ["0003"]


def test_isic_keeps_each_split_in_folders_of_its_own(tmp_path: Path) -> None:
    image, mask = picture(0, 20, 30)
    for part, number in (("Training", 3), ("Validation", 1), ("Test", 2)):
        inputs = tmp_path / f"ISIC2018_Task1-2_{part}_Input"
        encode(inputs / f"ISIC_000000{number}.jpg", image)
        (inputs / "ATTRIBUTION.txt").touch()
        encode(tmp_path / f"ISIC2018_Task1_{part}_GroundTruth" / f"ISIC_000000{number}_segmentation.png", mask)
    found = {case.id: case.split for case in find_cases(SOURCES["isic2018"], tmp_path)}
    assert found == {"ISIC_0000001": "val", "ISIC_0000002": "test", "ISIC_0000003": "train"}


@pytest.mark.parametrize("outer", ["SD-Tooth/STS-3D-Tooth", "STS-3D-Tooth", "."])
def test_open_tooth_scans(tmp_path: Path, outer: str) -> None:
    for kind in ("Image", "Mask"):
        save(tmp_path / outer / "ROI" / "Labeled" / kind / "ROI_L_007.nii.gz", np.zeros((3, 3, 3), np.int16))
    assert ids("sts-zenodo", tmp_path) == ["ROI_L_007"]


def test_hidden_files_other_files_and_capital_suffixes_do_not_disturb(tmp_path: Path) -> None:
    write_kseg(tmp_path, ["a"])
    images = tmp_path / "Kvasir-SEG" / "images"
    (images / "._a.jpg").write_bytes(b"resource fork")
    (images / "Thumbs.db").write_bytes(b"")
    (images / "a.jpg").rename(images / "a.JPG")
    assert ids("kseg", tmp_path) == ["a"]


def test_real_samples_are_found(samples: Path) -> None:
    counts = {name: len(ids(name, samples / name)) for name in ("kseg", "cvc", "refuge2", "btcv")}
    assert counts == {"kseg": 22, "cvc": 20, "refuge2": 36, "btcv": 2}
    assert len(ids("kseg", samples / "kseg256")) == 900


# What is wrong with a raw folder


@pytest.mark.parametrize("source", SOURCES)
def test_a_missing_or_empty_folder_says_where_to_get_the_data_and_how_to_lay_it(source: str, tmp_path: Path) -> None:
    record = SOURCES[source]
    with pytest.raises(UserError, match="is missing") as missing:
        find_cases(record, tmp_path / "none")
    (tmp_path / ".DS_Store").touch()
    with pytest.raises(UserError, match="is empty") as empty:
        find_cases(record, tmp_path)
    for message in (str(missing.value), str(empty.value)):
        assert record.page in message
        assert record.layout in message
        assert str(tmp_path) in message


def test_a_folder_arranged_otherwise_tells_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    with pytest.raises(
        UserError, match=r"no files of Kvasir-SEG where they are expected; the raw folder holds holiday"
    ):
        find_cases(SOURCES["kseg"], tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="holds the folders of Kvasir-SEG but no image in them"):
        find_cases(SOURCES["kseg"], tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="the raw folder is a file"):
        find_cases(SOURCES["kseg"], tmp_path / "file")


def test_every_unpaired_file_is_listed(tmp_path: Path) -> None:
    write_kseg(tmp_path)
    (tmp_path / "Kvasir-SEG" / "masks" / "b.jpg").unlink()
    (tmp_path / "Kvasir-SEG" / "images" / "d.jpg").unlink()
    with pytest.raises(ListedError, match=r"not complete pairs \(2 problem") as caught:
        find_cases(SOURCES["kseg"], tmp_path)
    assert caught.value.problems == (
        "image without mask: Kvasir-SEG/images/b.jpg (expected in Kvasir-SEG/masks)",
        "mask without image: Kvasir-SEG/masks/d.jpg (expected in Kvasir-SEG/images)",
    )


def test_names_that_do_not_fit_and_ids_found_twice_are_listed(tmp_path: Path) -> None:
    write_btcv(tmp_path, {"0001": 2})
    images = tmp_path / "RawData" / "Training" / "img"
    shutil.copy(images / "img0001.nii.gz", images / "img1.nii.gz")
    save(images / "img0001.nii", np.zeros((3, 3, 3), np.int16))
    with pytest.raises(ListedError, match="file name not understood") as caught:
        find_cases(SOURCES["btcv"], tmp_path)
    assert caught.value.problems == (
        "file name not understood: RawData/Training/img/img1.nii.gz",
        "id '0001' twice: RawData/Training/img/img0001.nii, RawData/Training/img/img0001.nii.gz",
    )


# What masks mean


@pytest.mark.parametrize(
    ("source", "grey", "labels"),
    [
        ("cvc", [0, 100, 128, 129, 255], [0, 0, 0, 1, 1]),
        ("kseg", [0, 7, 127, 128, 248, 255], [0, 0, 0, 1, 1, 1]),
        ("refuge2", [0, 99, 100, 128, 199, 200, 255], [2, 2, 1, 1, 1, 0, 0]),
    ],
)
def test_grey_levels_become_label_ids(source: str, grey: list[int], labels: list[int]) -> None:
    # The values between the levels are a rare soft edge on an otherwise clean mask.
    mask = np.full((64, 64), 255, np.uint8)
    mask[0, : len(grey)] = grey
    assert decode(source, mask)[0, : len(grey)].tolist() == labels


def test_the_cup_lies_within_the_disc(samples: Path) -> None:
    from sdseg.io.images import read_mask

    for case in find_cases(SOURCES["refuge2"], samples / "refuge2")[:5]:
        grey = read_mask(case.label)
        labels = decode("refuge2", grey)
        np.testing.assert_array_equal(labels == 2, grey < 100)
        np.testing.assert_array_equal(labels >= 1, grey < 200)


@pytest.mark.parametrize("source", ["cvc", "kseg", "refuge2"])
def test_a_photograph_is_no_mask(source: str) -> None:
    photograph = np.tile(np.arange(256), (20, 1))
    with pytest.raises(
        UserError, match=r"(?s)of the mask's pixels are far from the grey levels 0, .*where: .*mask\.png"
    ):
        decode(source, photograph)


def test_an_unexpected_level_in_a_lossless_mask_is_refused() -> None:
    mask = np.full((100, 100), 255, np.uint8)
    mask[:10, :10] = 60
    with pytest.raises(UserError, match=r"1\.0% of the mask's pixels .* \(for example 60\)"):
        decode("refuge2", mask)


@pytest.mark.parametrize("source", ["cvc", "kseg", "refuge2"])
def test_label_numbers_are_no_grey_levels(source: str) -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[2:5] = 1
    with pytest.raises(UserError, match=r"mask values \[0, 1\] look like label numbers"):
        decode(source, mask)


def test_an_empty_mask_is_a_mask() -> None:
    assert decode("cvc", np.zeros((4, 4))).max() == 0
    assert decode("refuge2", np.full((4, 4), 255)).max() == 0
