from __future__ import annotations

import csv
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from sdseg.artifacts import PreparedManifest
from sdseg.config import Dataset
from sdseg.data.slices import from_axial
from sdseg.data.store import SliceStore
from sdseg.data.volumes import read_geometry
from sdseg.errors import ListedError, UserError
from sdseg.prepare import prepare
from tests.raw_files import (
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
            native = geometry.to_native(from_axial(rows))
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


def test_refuge_prepares(bench: Bench) -> None:
    bench.raw = write_refuge2(bench.raw.parent / "refuge")
    split = {"g0001": "train", "n0001": "train", "V0001": "val", "T0001": "test", "T0002": "test"}
    write_split(bench.split, split)
    bench.prepare(source="refuge2", target="disc-cup", size=24)
    assert set(np.unique(SliceStore.open(bench.output).masks)) == {0, 1, 2}


def test_a_good_output_is_replaced_and_survives_a_failure(bench: Bench) -> None:
    bench.prepare()
    (bench.output / "stray").touch()
    bench.prepare(size=32)
    assert SliceStore.open(bench.output).manifest.image.size == 32
    assert not (bench.output / "stray").exists()
    (bench.raw / "Kvasir-SEG" / "images" / "a.jpg").write_bytes(b"broken")
    with pytest.raises(ListedError, match=r"a\.jpg: not a readable image"):
        bench.prepare()
    assert SliceStore.open(bench.output, verify=True).manifest.image.size == 32
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


def test_missing_and_empty_raw_folders_are_named(bench: Bench, tmp_path: Path) -> None:
    bench.raw = tmp_path / "nirgends"
    with pytest.raises(UserError, match=r"(?s)raw folder of Kvasir-SEG is missing.*nirgends.*datasets\.simula\.no"):
        bench.prepare()
    bench.raw.mkdir()
    with pytest.raises(UserError, match="raw folder of Kvasir-SEG is empty"):
        bench.prepare()
    assert bench.left() == []


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


def test_the_command_works_and_needs_no_torch(bench: Bench, tmp_path: Path, root: Path) -> None:
    settings = tmp_path / "einstellungen ö.yaml"
    settings.write_text("source: kseg\nsize: 16\n")
    words = ["prepare", "--name", "x", "--settings", settings, "--raw", bench.raw, "--split", bench.split]
    program = "import sys; from sdseg.__main__ import main; code = main(sys.argv[1:]); print('torch' in sys.modules); "
    program += "sys.exit(code)"
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words), "--output", str(bench.output)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
    spoil_image(bench.raw)
    done = subprocess.run(
        [sys.executable, "-m", "sdseg", *map(str, words), "--output", str(bench.output)],
        cwd=root,
        capture_output=True,
        text=True,
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
