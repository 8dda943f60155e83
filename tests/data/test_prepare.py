from __future__ import annotations

import csv
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import pytest

from sdseg.artifacts.manifests import PreparedManifest
from sdseg.cli.commands import main
from sdseg.config.dataset import Dataset
from sdseg.core.errors import ListedError, UserError
from sdseg.data.prepare import check, prepare
from sdseg.data.slicing import from_slices
from sdseg.data.store import SliceStore, structure_masks
from sdseg.datasets.split_files import read_split
from sdseg.io.volumes import read_geometry
from tests.core.test_locks import another
from tests.helpers.raw_files import (
    LPS,
    SIX,
    encode,
    picture,
    save,
    write_btcv,
    write_cvc,
    write_kseg,
    write_refuge2,
    write_split,
)

VOLUMES = {"0001": 3, "0002": 4, "0003": 2}
VOLUME_SPLIT = {"0001": "test", "0002": "train", "0003": "val"}


class Bench:
    """A raw Kvasir-like dataset, its split file and the folder to prepare it into."""

    def __init__(self, folder: Path) -> None:
        self.raw = write_kseg(folder / "roh daten ü")
        self.split = write_split(folder / "aufteilung 分.csv", SIX)
        self.output = folder / "ergebnis é" / "prepared"

    def prepare(self, **settings: Any) -> PreparedManifest:
        chosen = Dataset.model_validate({"source": "kseg", "size": 16} | settings)
        return prepare(name="mine", settings=chosen, raw=self.raw, split=self.split, output=self.output)

    def left(self) -> list[str]:
        """What lies where the output should be, hidden parts included."""
        return sorted(path.name for path in self.output.parent.iterdir()) if self.output.parent.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def volumes(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.raw = write_btcv(tmp_path / "bäuche", VOLUMES)
    made.split = write_split(tmp_path / "volumes.csv", VOLUME_SPLIT)
    return made


# What is written


def test_a_prepared_dataset_opens_as_a_store(bench: Bench) -> None:
    manifest = bench.prepare()
    store = SliceStore.open(bench.output, verify=True)
    assert store.manifest == manifest
    assert manifest.n_cases == manifest.n_slices == {"train": 3, "val": 1, "test": 2}
    assert (manifest.dataset, manifest.source, manifest.origin, manifest.target) == ("mine", "kseg", "real", "polyp")
    assert [case.case for case in store.cases] == list(SIX)
    assert store.cases[3].image == "Kvasir-SEG/images/d.jpg"
    assert (store.cases[3].height, store.cases[3].width) == (52, 50)
    assert store.images.shape == (6, 16, 16, 3)
    assert set(np.unique(store.masks)) == {0, 1}
    assert bench.left() == ["prepared"]


def test_rows_follow_the_split_file(bench: Bench) -> None:
    write_split(bench.split, dict(reversed(SIX.items())))
    bench.prepare()
    assert [case.case for case in SliceStore.open(bench.output).cases] == list("fedcba")


def test_the_same_files_give_the_same_checksum_whatever_the_number_of_readers(bench: Bench, tmp_path: Path) -> None:
    checksums = set()
    for jobs in (1, 3):
        settings = Dataset(source="kseg", size=16)
        made = prepare(
            name="n", settings=settings, raw=bench.raw, split=bench.split, output=tmp_path / str(jobs), jobs=jobs
        )
        checksums.add(made.data_checksum)
    assert len(checksums) == 1
    encode(bench.raw / "Kvasir-SEG" / "images" / "a.jpg", picture(99, 40, 56)[0])
    assert bench.prepare().data_checksum not in checksums


def test_volumes_at_their_own_size_come_back_whole(volumes: Bench) -> None:
    volumes.raw = write_btcv(volumes.raw.parent / "square", VOLUMES, shape=(16, 16))
    volumes.prepare(source="btcv", size=16)
    store = SliceStore.open(volumes.output)
    assert store.manifest.n_slices == {"train": 4, "val": 2, "test": 3}
    for case in store.cases:
        geometry = read_geometry(volumes.raw / case.image)
        assert (case.axcodes, case.spacing, case.affine) == ("LPS", (2.0, 3.0, 5.0), geometry.affine)
        for rows, path in ((store.images[case.rows, ..., 0], case.image), (store.masks[case.rows], case.label)):
            native = geometry.to_native(from_slices(rows, "axial"))
            np.testing.assert_array_equal(native, np.asanyarray(nib.load(volumes.raw / path).dataobj))


def test_every_slice_is_listed(volumes: Bench) -> None:
    volumes.prepare(source="btcv")
    with (volumes.output / "slices.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [int(line["row"]) for line in lines] == list(range(9))
    assert [line["slice"] for line in lines if line["case"] == "0002"] == ["0", "1", "2", "3"]


def test_target_and_window_are_taken_from_the_settings(volumes: Bench) -> None:
    manifest = volumes.prepare(source="btcv", target="classes13", window="transunet")
    assert len(manifest.structures) == 13
    assert manifest.image.window == (-125.0, 275.0)


@pytest.mark.parametrize(
    ("target", "structures"),
    [
        ("organs13", [{*range(1, 14)}]),
        (None, [{*range(1, 14)}]),
        ("organs8", [{1, 2, 3, 4, 6, 7, 8, 11}]),
        ("classes13", [{label} for label in range(1, 14)]),
    ],
)
def test_targets_of_btcv_merge_labels_as_published(
    volumes: Bench, target: str | None, structures: list[set[int]]
) -> None:
    manifest = volumes.prepare(source="btcv", target=target)
    store = SliceStore.open(volumes.output)
    labels = np.asarray(store.masks)
    assert len(np.unique(labels)) > 5
    masks = structure_masks(labels, manifest.structures)
    assert masks.shape[1] == len(structures)
    for channel, values in enumerate(structures):
        np.testing.assert_array_equal(masks[:, channel], np.isin(labels, list(values)))


def test_refuge_prepares(bench: Bench) -> None:
    bench.raw = write_refuge2(bench.raw.parent / "refuge")
    split = {"g0001": "train", "n0001": "train", "V0001": "val", "T0001": "test", "T0002": "test"}
    write_split(bench.split, split)
    bench.prepare(source="refuge2", target="disc-cup", size=24)
    assert set(np.unique(SliceStore.open(bench.output).masks)) == {0, 1, 2}


def test_a_good_output_is_replaced_and_survives_a_failure(bench: Bench) -> None:
    bench.prepare()
    bench.prepare(size=32)
    assert SliceStore.open(bench.output).manifest.image.size == 32
    (bench.raw / "Kvasir-SEG" / "images" / "a.jpg").write_bytes(b"broken")
    with pytest.raises(ListedError, match=r"a\.jpg: not a readable image"):
        bench.prepare()
    assert SliceStore.open(bench.output, verify=True).manifest.image.size == 32
    assert bench.left() == ["prepared"]


def test_a_store_that_another_process_writes_is_refused_and_its_leftovers_go(bench: Bench) -> None:
    with another(bench.output), pytest.raises(UserError, match="another run is writing here"):
        bench.prepare()
    half = bench.output.with_name(".prepared.0123abcd.part")  # as a killed run leaves it: at full scale a whole store
    half.mkdir(parents=True)
    (half / "images.npy").touch()
    bench.prepare()
    assert bench.left() == ["prepared"]


def test_missing_cases_may_be_left_out(bench: Bench) -> None:
    for kind in ("images", "masks"):
        (bench.raw / "Kvasir-SEG" / kind / "b.jpg").unlink()
    with pytest.raises(ListedError, match=r"not on disk: b"):
        bench.prepare()
    assert bench.prepare(allow_missing=True).n_cases["train"] == 2


# Bad input: nothing may be left behind


def spoil_image(raw: Path) -> None:
    path = raw / "Kvasir-SEG" / "images" / "b.jpg"
    path.write_bytes(path.read_bytes()[:200])


def spoil_mask(raw: Path) -> None:
    (raw / "Kvasir-SEG" / "masks" / "b.jpg").write_bytes(b"<html>")


def resize_mask(raw: Path) -> None:
    encode(raw / "Kvasir-SEG" / "masks" / "b.jpg", picture(0, 20, 20)[1])


def photograph_as_mask(raw: Path) -> None:
    encode(raw / "Kvasir-SEG" / "masks" / "b.jpg", picture(1, 44, 54)[0])


def remove_mask(raw: Path) -> None:
    (raw / "Kvasir-SEG" / "masks" / "b.jpg").unlink()


def remove_image(raw: Path) -> None:
    (raw / "Kvasir-SEG" / "images" / "b.jpg").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_image, r"images/b\.jpg: not a readable image: truncated"),
        (spoil_mask, r"masks/b\.jpg: not a readable image"),
        (resize_mask, r"masks/b\.jpg: the image is 54×44 pixels, its mask 20×20"),
        (photograph_as_mask, r"masks/b\.jpg: .*% of the mask's pixels are far from the grey levels 0, 255"),
        (remove_mask, r"image without mask: Kvasir-SEG/images/b\.jpg"),
        (remove_image, r"mask without image: Kvasir-SEG/masks/b\.jpg"),
    ],
)
def test_bad_images_are_named_and_nothing_is_written(bench: Bench, spoil: Callable[[Path], None], message: str) -> None:
    spoil(bench.raw)
    with pytest.raises(ListedError, match=rf"(?s)Kvasir-SEG.*{message}.*where: .*roh daten ü.*remedy: "):
        bench.prepare()
    assert bench.left() == []


def test_all_bad_images_come_at_once(bench: Bench) -> None:
    spoil_image(bench.raw)
    encode(bench.raw / "Kvasir-SEG" / "masks" / "e.jpg", picture(0, 20, 20)[1])
    with pytest.raises(ListedError, match=r"Kvasir-SEG: 2 problem\(s\)") as caught:
        bench.prepare()
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "Kvasir-SEG/images/b.jpg",
        "Kvasir-SEG/masks/e.jpg",
    ]


def not_a_number(values: Any) -> Any:
    values = values.astype(np.float32)
    values[0, 0, 0] = np.nan
    return values


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("img/img0002", not_a_number, "1 voxels are NaN or infinite"),
        ("img/img0002", lambda values: values[..., None].repeat(2, -1), r"a 4-D volume of shape \(20, 16, 4, 2\)"),
        ("img/img0002", lambda values: values[:-1], r"shape of the image \(19, 16, 4\) and of the label"),
        ("label/label0002", lambda values: values + 14, r"label values \[.*\]; BTCV abdomen has 0 to 13"),
        ("label/label0002", lambda values: values - np.float32(0.5), "label values are not whole numbers"),
        ("label/label0002", not_a_number, "1 voxels are NaN"),
    ],
)
def test_bad_volumes_are_named_and_nothing_is_written(
    volumes: Bench, file: str, change: Callable[[Any], Any], message: str
) -> None:
    path = volumes.raw / "RawData" / "Training" / f"{file}.nii.gz"
    save(path, change(np.asanyarray(nib.load(path).dataobj)))
    with pytest.raises(ListedError, match=rf"(?s)BTCV abdomen.*0002\.nii\.gz: {message}"):
        volumes.prepare(source="btcv")
    assert volumes.left() == []


@pytest.mark.parametrize("share", [0.02, 0.7])
def test_truncated_volumes_are_named(volumes: Bench, share: float) -> None:
    path = volumes.raw / "RawData/Training/img/img0003.nii.gz"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ListedError, match=r"img0003\.nii\.gz: cannot be read"):
        volumes.prepare(source="btcv")
    assert volumes.left() == []


def test_a_label_with_another_affine_is_named(volumes: Bench) -> None:
    moved = LPS.copy()
    moved[2, 3] += 5
    path = volumes.raw / "RawData/Training/label/label0001.nii.gz"
    save(path, np.asanyarray(nib.load(path).dataobj), moved)
    with pytest.raises(ListedError, match=r"label0001\.nii\.gz: affines of image and label differ: .* 5 mm apart"):
        volumes.prepare(source="btcv")


# All that is wrong, at once


def spoil_everything(volumes: Bench) -> None:
    """One fault of each kind, in files, pairs, headers, values and split."""
    folder = volumes.raw / "RawData" / "Training"
    write_btcv(volumes.raw, {f"{number:04d}": 3 for number in range(1, 8)})
    (folder / "label/label0001.nii.gz").unlink()
    (folder / "img/img0002.nii.gz").write_bytes(b"<html>")
    save(folder / "label/label0003.nii.gz", np.zeros((20, 16, 4), np.uint8))
    save(folder / "label/label0004.nii.gz", np.full((20, 16, 3), 99, np.uint8))
    voxels = np.asanyarray(nib.load(folder / "img/img0005.nii.gz").dataobj)
    save(folder / "img/img0006.nii.gz", voxels + np.int16(1))
    write_split(volumes.split, {f"{number:04d}": "test" if number == 6 else "train" for number in (*range(1, 7), 9)})


WRONG = (
    r"image without mask: RawData/Training/img/img0001\.nii\.gz",
    r"volumes\.csv: 1 case\(s\) on disk are not in the split file: 0007",
    r"volumes\.csv: 2 case\(s\) of the split file are not on disk: 0001, 0009",
    r"volumes\.csv: no case is left for 'val'",
    r"img/img0002\.nii\.gz: cannot be read",
    r"label/label0003\.nii\.gz: shape of the image",
    r"label/label0004\.nii\.gz: label values \[99\]",
    r"'0005' \(train\) and '0006' \(test\) are the same picture",
)


def test_prepare_names_all_that_is_wrong_at_once(volumes: Bench) -> None:
    spoil_everything(volumes)
    with pytest.raises(ListedError, match=rf"BTCV abdomen: {len(WRONG)} problem") as caught:
        volumes.prepare(source="btcv")
    assert len(caught.value.problems) == len(WRONG)
    for pattern in WRONG:
        assert sum(bool(re.search(pattern, problem)) for problem in caught.value.problems) == 1, pattern
    assert volumes.left() == []


def test_strange_and_large_files_are_told_and_nothing_waits(bench: Bench) -> None:
    images = bench.raw / "Kvasir-SEG" / "images"
    for name in "abc":
        (images / f"{name}.jpg").unlink()
    os.mkfifo(images / "a.jpg")
    (images / "b.jpg").symlink_to("/dev/zero")
    (images / "c.jpg").symlink_to(images / "c.jpg")
    with pytest.raises(ListedError, match=r"Kvasir-SEG: 3 problem\(s\)") as caught:
        bench.prepare()
    assert [problem.split(";")[0].split(" (")[0] for problem in caught.value.problems] == [
        "Kvasir-SEG/images/a.jpg: a named pipe",
        "Kvasir-SEG/images/b.jpg: a device",
        "Kvasir-SEG/images/c.jpg: cannot be read: Too many levels of symbolic links",
    ]
    assert bench.left() == []


def test_the_largest_size_is_set_by_the_configuration(bench: Bench, volumes: Bench) -> None:
    for made, settings in ((bench, {"max_pixels": 2400}), (volumes, {"source": "btcv", "max_voxels": 20 * 16 * 2})):
        with pytest.raises(ListedError, match=r"at most (2,400|640) are read.*'max_(pix|vox)els' of a dataset"):
            Bench.prepare(made, **settings)
    assert bench.prepare(max_pixels=46 * 60).n_cases["train"] == 3


def test_what_is_odd_about_files_is_a_warning(volumes: Bench, caplog: pytest.LogCaptureFixture) -> None:
    folder = volumes.raw / "RawData" / "Training" / "img"
    save(folder / "img0002.nii.gz", np.full((20, 16, 4), 7, np.uint8))
    save(folder / "img0003.nii.gz", np.where(np.arange(640).reshape(20, 16, 2) > 9, 1e9, -1000).astype(np.float32))
    volumes.prepare(source="btcv", origin="sample")
    told = [record.getMessage() for record in caplog.records]
    assert ["1 case(s): 8 bits a voxel, values from 7 to 7" in line for line in told].count(True) == 1
    assert ["1 case(s): values from -1000 to 1e+09: beyond the 16 bits" in line for line in told].count(True) == 1


def test_the_check_says_the_same_and_writes_nothing_but_its_json(
    volumes: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil_everything(volumes)
    settings = Dataset(source="btcv", size=16)
    told = {"name": "mine", "settings": settings, "raw": volumes.raw, "split": volumes.split}
    before = sorted(tmp_path.rglob("*"))
    assert check(**told) is False
    assert sorted(tmp_path.rglob("*")) == before
    printed = capsys.readouterr().out
    assert check(**told, output=tmp_path / "check ü.json") is False
    record = json.loads((tmp_path / "check ü.json").read_text("utf-8"))
    assert (record["passed"], len(record["problems"])) == (False, len(WRONG))
    for pattern in WRONG:
        assert re.search(pattern, printed), pattern
    assert all(problem in printed for problem in record["problems"])


def test_a_good_dataset_passes_and_the_store_holds_what_was_seen(volumes: Bench, tmp_path: Path) -> None:
    told = {"name": "mine", "settings": Dataset(source="btcv", size=16), "raw": volumes.raw, "split": volumes.split}
    assert check(**told, output=tmp_path / "check.json") is True
    volumes.prepare(source="btcv")
    alone, beside = (json.loads(path.read_text()) for path in (tmp_path / "check.json", volumes.output / "check.json"))
    for record in (alone, beside):
        del record["provenance"]
    assert alone == beside
    assert alone["slices"] == {"train": 4, "val": 2, "test": 3}
    assert alone["orientations"] == {"LPS": 3}
    assert alone["spacing"]["smallest"] == [2.0, 3.0, 5.0]


@pytest.mark.parametrize("source", ["btcv", "sts"])
def test_the_papers_slices_are_counted_in_the_files(root: Path, tmp_path: Path, source: str) -> None:
    rows = read_split(root / f"resources/splits/{source}/paper.csv")
    depths = [200, 200, 200, 200, 300, 300, 200, 200, 705, 200, 200, 200]
    if source == "btcv":  # within the true range of 85 to 198 slices
        depths = [
            122 + (number < 15) if row.split == "train" else 130 + (number % 3) for number, row in enumerate(rows)
        ]
        for split, wanted in (("train", 2211), ("test", 1568)):
            places = [place for place, row in enumerate(rows) if row.split == split]
            depths[places[-1]] += wanted - sum(depths[place] for place in places)
        write_btcv(tmp_path, {row.id: depth for row, depth in zip(rows, depths, strict=True)}, shape=(4, 4))
    else:
        for number, (row, depth) in enumerate(zip(sorted(rows, key=lambda row: row.id), depths, strict=True)):
            voxels = np.random.default_rng(number).integers(-1000, 3000, (4, 4, depth)).astype(np.int16)
            save(tmp_path / f"labelled/image/Teeth_{row.id}_0000.nii.gz", voxels)
            save(tmp_path / f"labelled/label/Teeth_{row.id}_0000.nii.gz", (voxels > 2000).astype(np.uint8))
    settings = Dataset(source=source, protocol="paper", size=16)
    told = {"name": source, "settings": settings, "raw": tmp_path, "split": tmp_path / "split.csv"}
    write_split(told["split"], {row.id: row.split for row in rows})
    record = tmp_path.with_name(f"{source}.json")
    assert check(**told, output=record) is True
    counts = json.loads(record.read_text())["published_slices"]
    assert [count["found"] for count in counts] == ([2211, 1568] if source == "btcv" else [2505, 600])
    test = next(row.id for row in rows if row.split == "test")
    if source == "btcv":
        write_btcv(tmp_path, {test: 17}, shape=(4, 4))
        with pytest.raises(ListedError, match=r"the 12 test volumes have \d+ slices, the paper counts 1568"):
            prepare(**told, output=tmp_path.with_name("out"))


def test_leaking_pictures_are_refused_by_the_clean_protocol_and_told_by_the_papers(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    images = bench.raw / "Kvasir-SEG" / "images"
    for kind in ("images", "masks"):
        shutil.copy(bench.raw / "Kvasir-SEG" / kind / "a.jpg", bench.raw / "Kvasir-SEG" / kind / "e.jpg")
    encode(images / "e.jpg", cv2.imread(str(images / "a.jpg")) // 2 + 60)  # not the same bytes
    with pytest.raises(ListedError, match=r"'a' \(train\) and 'e' \(test\) are the same picture"):
        bench.prepare()
    assert bench.left() == []
    bench.prepare(protocol="paper")
    assert "'a' (train) and 'e' (test) are the same picture" in caplog.text
    assert len(json.loads((bench.output / "check.json").read_text())["warnings"]) == 1


def test_missing_and_empty_raw_folders_are_named(bench: Bench, tmp_path: Path) -> None:
    bench.raw = tmp_path / "nirgends"
    with pytest.raises(UserError, match=r"(?s)raw folder of Kvasir-SEG is missing.*nirgends.*datasets\.simula\.no"):
        bench.prepare()
    bench.raw.mkdir()
    with pytest.raises(UserError, match="raw folder of Kvasir-SEG is empty"):
        bench.prepare()
    assert bench.left() == []


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (".", "the output is the raw folder itself"),
        ("Kvasir-SEG/images", "the output lies in the raw folder"),
        ("new/one", "the output lies in the raw folder"),
        ("..", "the output holds the raw folder"),
    ],
)
@pytest.mark.parametrize("by_link", [False, True], ids=["plain", "by a link"])
def test_an_output_that_meets_the_raw_folder_is_refused(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory, place: str, message: str, by_link: bool
) -> None:
    bench.output = bench.raw / place
    if by_link:
        link = tmp_path_factory.mktemp("links") / "link to it"
        link.symlink_to(bench.output.resolve())
        bench.output = link
    before = contents(bench.raw.parent)
    with pytest.raises(UserError, match=message):
        bench.prepare()
    assert contents(bench.raw.parent) == before


def test_an_output_that_holds_anything_else_is_refused(bench: Bench) -> None:
    bench.prepare()
    (bench.output / "notes").mkdir()
    (bench.output / "notes" / "mine.txt").write_text("mine", encoding="utf-8")
    before = contents(bench.output)
    with pytest.raises(UserError, match=r"holds 'notes/mine\.txt', which this command did not write"):
        bench.prepare()
    assert contents(bench.output) == before


@pytest.mark.parametrize("words", ["a photograph", '{"passed": true}', "[]"])
def test_the_check_replaces_no_file_but_a_check(bench: Bench, tmp_path: Path, words: str) -> None:
    output, settings = tmp_path / "mine.json", Dataset(source="kseg", size=16)
    given = {"name": "n", "settings": settings, "raw": bench.raw, "split": bench.split}
    output.write_text(words, encoding="utf-8")
    with pytest.raises(UserError, match="not what this command writes: it would be replaced"):
        check(**given, output=output)
    assert output.read_text("utf-8") == words
    with pytest.raises(UserError, match="the output lies in the raw folder"):
        check(**given, output=bench.raw / "check.json")
    output.unlink()
    assert check(**given, output=output)
    assert check(**given, output=output)


@pytest.mark.parametrize("empty", ["train", "test"])
def test_a_split_without_training_or_test_cases_is_refused(bench: Bench, empty: str) -> None:
    write_split(bench.split, {case: "val" if split == empty else split for case, split in SIX.items()})
    with pytest.raises(ListedError, match=rf"aufteilung 分\.csv: no case is left for '{empty}'"):
        bench.prepare()
    assert bench.left() == []


def test_unknown_presets_and_sources_are_refused(bench: Bench) -> None:
    with pytest.raises(UserError, match="kseg has no target 'polip', did you mean 'polyp'"):
        bench.prepare(target="polip")
    with pytest.raises(UserError, match="kseg has no window 'official'"):
        bench.prepare(window="official")
    with pytest.raises(UserError, match="unknown dataset source 'kvasir'"):
        bench.prepare(source="kvasir")
    with pytest.raises(UserError, match="0 parallel readers"):
        prepare(
            name="n", settings=Dataset(source="kseg"), raw=bench.raw, split=bench.split, output=bench.output, jobs=0
        )


def test_an_output_that_cannot_be_written_is_named(bench: Bench) -> None:
    bench.output.parent.write_text("a file where a folder should be")
    with pytest.raises(UserError, match=r"(?s)cannot write.*ergebnis é"):
        bench.prepare()


def test_a_disk_without_room_is_refused_before_the_work(bench: Bench) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(UserError, match=r"(?s)cannot reserve 4\.7 MB: File too large.*ergebnis é"):
            bench.prepare(size=512)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert bench.left() == []


# From the command line, and on real files


def test_the_check_as_a_command(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "s.yaml"
    settings.write_text("source: kseg\nsize: 16\n")
    paths = ["--settings", settings, "--raw", bench.raw, "--split", bench.split]
    words = [str(word) for word in ("prepare", "--name", "mine", *paths)]
    assert main([*words, "--check"]) == 0
    assert "3 train, 1 val, 2 test" in capsys.readouterr().out
    spoil_image(bench.raw)
    assert main([*words, "--check", "--output", str(tmp_path / "c.json")]) == 1
    assert "b.jpg: not a readable image" in capsys.readouterr().out
    assert json.loads((tmp_path / "c.json").read_text())["passed"] is False
    assert main(words) == 2
    assert "no folder to write to" in capsys.readouterr().err
    assert not bench.output.exists()


def test_a_store_takes_2_bytes_a_pixel_for_ct_and_3_for_rgb(samples: Path, root: Path, tmp_path: Path) -> None:
    for source, channels in (("btcv", 2), ("kseg", 3)):
        settings = Dataset(source=source, origin="sample", protocol="sample", size=256)
        split = root / "resources" / "splits" / source / "sample.csv"
        prepare(name=source, settings=settings, raw=samples / source, split=split, output=tmp_path / source)
        pixels = len(SliceStore.open(tmp_path / source).images) * 256 * 256
        assert (tmp_path / source / "images.npy").stat().st_size == channels * pixels + 128
        assert sum(path.stat().st_size for path in (tmp_path / source).iterdir()) < (channels + 0.03) * pixels


def test_the_command_works_and_needs_no_torch(bench: Bench, tmp_path: Path, root: Path) -> None:
    settings = tmp_path / "einstellungen ö.yaml"
    settings.write_text("source: kseg\nsize: 16\n")
    words = ["prepare", "--name", "x", "--settings", settings, "--raw", bench.raw, "--split", bench.split]
    program = (
        "import sys; from sdseg.cli.commands import main; code = main(sys.argv[1:]); print('torch' in sys.modules); "
    )
    program += "sys.exit(code)"
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words), "--output", str(bench.output)],
        cwd=root,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
    spoil_image(bench.raw)
    done = subprocess.run(
        [sys.executable, "-m", "sdseg", *map(str, words), "--output", str(bench.output)],
        cwd=root,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == 2
    assert "b.jpg: not a readable image" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("source", "cases", "slices", "labels"),
    [
        ("kseg", (16, 3, 3), 22, {0, 1}),
        ("cvc", (14, 3, 3), 20, {0, 1}),
        ("refuge2", (20, 6, 10), 36, {0, 1, 2}),
        ("btcv", (1, 0, 1), 50, {0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13}),
    ],
)
def test_real_samples_prepare(
    samples: Path, root: Path, tmp_path: Path, source: str, cases: tuple[int, int, int], slices: int, labels: set[int]
) -> None:
    manifest = prepare(
        name=source,
        settings=Dataset(source=source, origin="sample", protocol="sample", size=64),
        raw=samples / source,
        split=root / "resources" / "splits" / source / "sample.csv",
        output=tmp_path / source,
    )
    store = SliceStore.open(tmp_path / source, verify=True)
    assert tuple(manifest.n_cases.values()) == cases
    assert len(store.images) == slices
    assert set(np.unique(store.masks).tolist()) == labels


def test_real_kvasir_thumbnails_prepare_with_the_official_split(samples: Path, root: Path, tmp_path: Path) -> None:
    manifest = prepare(
        name="kseg256",
        settings=Dataset(source="kseg", origin="sample", size=32, allow_missing=True),
        raw=samples / "kseg256",
        split=root / "resources" / "splits" / "kseg" / "clean.csv",
        output=tmp_path / "kseg256",
    )
    assert manifest.n_cases == {"train": 709, "val": 81, "test": 110}


def test_cvc_frames_keep_their_order(tmp_path: Path) -> None:
    raw = write_cvc(tmp_path / "cvc", 12)
    split = write_split(
        tmp_path / "s.csv", {str(n): "val" if n == 3 else "test" if n > 9 else "train" for n in range(1, 13)}
    )
    prepare(name="c", settings=Dataset(source="cvc", size=16), raw=raw, split=split, output=tmp_path / "out")
    assert [case.case for case in SliceStore.open(tmp_path / "out").cases_of("test")] == ["10", "11", "12"]
