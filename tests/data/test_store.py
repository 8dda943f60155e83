from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib.format import open_memmap

from sdseg.artifacts.image_contract import ImageContract, Structure
from sdseg.artifacts.manifests import PreparedManifest
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import sha256_file, write_json
from sdseg.data.checksums import ARRAYS, FILES, TABLES, combined_checksum, fast_checksum
from sdseg.data.packed_masks import pack, write_packed
from sdseg.data.store import Case, SliceStore, read_cases, structure_masks, write_index

AFFINE = ((-0.9765625, 0.0, 0.1, 249.51171875), (0.0, 1 / 3, 0.0, -1e-7), (0.0, 0.0, 2.0, -804.5), (0.0, 0.0, 0.0, 1.0))
SLICES = {"0001": ("train", 3), "Fall, zwei": ("test", 2), "0003": ("train", 1), "0004": ("val", 4)}


def case(name: str, split: str, start: int, slices: int) -> Case:
    return Case(
        case=name,
        group=f"g {name}",
        split=split,
        start=start,
        slices=slices,
        image=f"img/{name} ä.nii.gz",
        label=f"label/{name}.nii.gz",
        height=512,
        width=400,
        depth=slices,
        spacing=(0.9765625, 1 / 3, 2.0),
        axcodes="LPS",
        affine=AFFINE,
        sha256="0" * 64,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "vorbereitet 腹"
    made.mkdir()
    cases, start = [], 0
    for name, (split, slices) in SLICES.items():
        cases.append(case(name, split, start, slices))
        start += slices
    generator = np.random.default_rng(0)
    np.save(made / "images.npy", generator.integers(-1000, 1000, (start, 8, 8, 1)).astype(np.int16))
    write_packed(made, pack(generator.integers(0, 3, (start, 8, 8)).astype(np.uint8)))
    write_index(made, cases)
    checksums = {name: sha256_file(made / name) for name in FILES}
    manifest = PreparedManifest(
        dataset="btcv",
        source="btcv",
        origin="phantom",
        protocol="clean",
        target="organs13",
        image=ImageContract(modality="ct", size=8, channels=1, window=(-175.0, 250.0)),
        structures=(Structure(name="organs", values=(1, 2)),),
        labels={1: "spleen", 2: "right kidney"},
        n_cases={"train": 2, "val": 1, "test": 1},
        n_slices={"train": 4, "val": 4, "test": 2},
        checksums=checksums,
        data_checksum=combined_checksum(checksums),
        provenance={},
    )
    write_json(made / "manifest.json", manifest)
    return made


def test_a_store_opens_without_reading_its_arrays(folder: Path) -> None:
    store = SliceStore.open(folder, verify=True)
    assert isinstance(store.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.images[0] = 0
    assert store.manifest.labels == {1: "spleen", 2: "right kidney"}


def test_a_large_store_opens_in_milliseconds_and_takes_no_memory(tmp_path: Path) -> None:
    count, size = 4000, 256
    open_memmap(tmp_path / "images.npy", mode="w+", dtype=np.int16, shape=(count, size, size, 1))  # 524 MB of holes
    write_packed(tmp_path, pack(np.zeros((1, size, size), np.uint8)) * count)
    write_index(tmp_path, [case(f"{number}", "train", 100 * number, 100) for number in range(count // 100)])
    checksums = {name: sha256_file(tmp_path / name) for name in TABLES}
    manifest = PreparedManifest(
        dataset="btcv",
        source="btcv",
        origin="phantom",
        protocol="clean",
        target="organs13",
        image=ImageContract(modality="ct", size=size, channels=1, window=(-175.0, 250.0)),
        structures=(Structure(name="organs", values=(1,)),),
        labels={1: "spleen"},
        n_cases={"train": count // 100, "val": 0, "test": 0},
        n_slices={"train": count, "val": 0, "test": 0},
        checksums=checksums,
        data_checksum=combined_checksum(checksums),
        provenance={},
    )
    write_json(tmp_path / "manifest.json", manifest)
    process = psutil.Process()
    before, seconds = process.memory_info().rss, []
    for _ in range(5):  # the quickest of five: another process may be busy
        start = time.perf_counter()
        store = SliceStore.open(tmp_path)
        seconds.append(time.perf_counter() - start)
    for row in range(0, count, 40):
        assert store.images[row].max() == store.masks[row].max() == 0
    assert min(seconds) < 0.05
    assert process.memory_info().rss - before < 60e6


def test_cases_come_back_as_they_were_written(folder: Path) -> None:
    store = SliceStore.open(folder)
    starts = [0, 3, 5, 6]
    assert store.cases == tuple(
        case(name, split, start, slices) for (name, (split, slices)), start in zip(SLICES.items(), starts, strict=True)
    )
    assert store.cases[1].rows == slice(3, 5)


def test_an_image_has_no_axes(tmp_path: Path) -> None:
    flat = Case("a", "a", "test", 0, 1, "a.jpg", "a.png", 20, 30, 1, (), "", (), "0")
    write_index(tmp_path, [flat])
    assert read_cases(tmp_path / "cases.csv") == (flat,)


def test_splits_are_picked_by_case_and_by_row(folder: Path) -> None:
    store = SliceStore.open(folder)
    assert [case.case for case in store.cases_of("train")] == ["0001", "0003"]
    assert store.rows_of("train").tolist() == [0, 1, 2, 5]
    assert store.rows_of("test").tolist() == [3, 4]
    assert store.rows_of("train").dtype == np.int64
    assert store.rows_of("other").tolist() == []


def test_the_slice_index_names_every_row(folder: Path) -> None:
    lines = (folder / "slices.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "row,case,group,split,slice"
    assert lines[4] == '3,"Fall, zwei","g Fall, zwei",test,0'
    assert len(lines) == 11


# What is wrong with a store


def test_a_missing_store_or_file_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)no prepared dataset here.*elsewhere.*sdseg prepare"):
        SliceStore.open(folder / "elsewhere")
    (folder / "masks.npy").unlink()
    (folder / "slices.csv").unlink()
    with pytest.raises(ListedError, match="lacks files") as caught:
        SliceStore.open(folder)
    assert caught.value.problems == ("masks.npy", "slices.csv")
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match="PreparedManifest file is missing"):
        SliceStore.open(folder)


def test_truncated_arrays_are_refused(folder: Path) -> None:
    data = (folder / "images.npy").read_bytes()
    for length in (len(data) // 2, 20, 0):
        (folder / "images.npy").write_bytes(data[:length])
        with pytest.raises(UserError, match=r"(?s)not a whole array file.*images\.npy"):
            SliceStore.open(folder)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((10, 8, 8, 1), np.float32), r"images\.npy is float32 .* expected int16"),
        (np.zeros((10, 8, 9, 1), np.int16), r"images\.npy is int16 \(10, 8, 9, 1\), expected int16 \(10, 8, 8, 1\)"),
        (np.zeros((9, 8, 8, 1), np.int16), r"images\.npy is int16 \(9, 8, 8, 1\)"),
    ],
)
def test_arrays_must_fit_the_manifest(folder: Path, array: AnyArray, message: str) -> None:
    np.save(folder / "images.npy", array)
    with pytest.raises(ListedError, match=message):
        SliceStore.open(folder)


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        ("masks.npy", np.zeros((10, 8, 8), np.int64), r"masks\.npy is int64"),
        ("masks.npy", np.zeros(7, np.uint8), r"mask_ends\.npy does not fit the length of masks\.npy"),
        ("mask_ends.npy", np.arange(9), r"mask_ends\.npy is int64 \(9,\), expected int64 \(10,\)"),
        ("mask_ends.npy", np.zeros(10, np.int64), "does not fit the length"),
    ],
)
def test_masks_must_fit_the_manifest(folder: Path, file: str, array: AnyArray, message: str) -> None:
    np.save(folder / file, array)
    with pytest.raises(ListedError, match=message):
        SliceStore.open(folder)


def test_pickles_are_never_loaded(folder: Path) -> None:
    np.save(folder / "masks.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="not a whole array file"):
        SliceStore.open(folder)


def test_the_list_of_cases_must_fit_the_manifest(folder: Path) -> None:
    cases = SliceStore.open(folder).cases
    write_index(folder, cases[:-1])
    with pytest.raises(ListedError, match="lists 0 cases of 'val', expected 1"):
        SliceStore.open(folder)
    write_index(folder, [cases[0], *cases[2:]])
    with pytest.raises(ListedError, match="case '0003' starts at row 5, expected 3"):
        SliceStore.open(folder)
    (folder / "cases.csv").write_text("case,group\na,b\n")
    with pytest.raises(UserError, match="not a list of cases"):
        SliceStore.open(folder)


@pytest.mark.parametrize("fast", [True, False], ids=["as written now", "of an earlier version"])
@pytest.mark.parametrize("name", ARRAYS)
def test_changed_arrays_are_seen_when_asked(folder: Path, name: str, fast: bool) -> None:
    if fast:
        data = json.loads((folder / "manifest.json").read_text())
        data["fast_checksums"] = {name: fast_checksum(folder / name) for name in ARRAYS}
        (folder / "manifest.json").write_text(json.dumps(data))
    SliceStore.open(folder, verify=True)
    array = np.load(folder / name, mmap_mode="r+")
    array[-1] += 1
    array.flush()
    SliceStore.open(folder)
    with pytest.raises(ListedError, match="files changed since they were prepared") as caught:
        SliceStore.open(folder, verify=True)
    assert caught.value.problems == (name,)


def test_the_fast_checksum_is_crc_32(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123456789")
    assert fast_checksum(tmp_path / "a") == "cbf43926"  # the check value of the CRC catalogue


def test_changed_tables_are_seen_at_every_opening(folder: Path) -> None:
    whole = {name: (folder / name).read_bytes() for name in ("cases.csv", "slices.csv", "manifest.json")}
    swapped = whole["cases.csv"].replace(b",train,", b",?,").replace(b",val,", b",train,").replace(b",?,", b",val,")
    manifest = json.loads(whole["manifest.json"])
    counts = {"n_cases": {"train": 1, "val": 2, "test": 1}, "n_slices": {"train": 4, "val": 4, "test": 2}}
    for name, content in (
        ("slices.csv", b""),
        ("slices.csv", whole["slices.csv"].replace(b"train", b"test")),
        ("cases.csv", whole["cases.csv"].replace(b"LPS", b"RAS")),
        ("manifest.json", json.dumps(manifest | {"checksums": manifest["checksums"] | {"a": "b"}}).encode()),
    ):
        (folder / name).write_bytes(content)
        with pytest.raises(ListedError, match="files changed since they were prepared") as caught:
            SliceStore.open(folder)
        assert caught.value.problems == (name,)
        (folder / name).write_bytes(whole[name])
    (folder / "cases.csv").write_bytes(swapped)
    (folder / "manifest.json").write_text(json.dumps(manifest | counts))
    with pytest.raises(ListedError, match=r"files changed.*\n  - cases\.csv"):
        SliceStore.open(folder)


def test_a_manifest_of_a_newer_format_is_refused(folder: Path) -> None:
    data = json.loads((folder / "manifest.json").read_text()) | {"format": 99}
    (folder / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="format 99 is newer"):
        SliceStore.open(folder)


# Structures


@given(
    labels=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)),
    values=st.lists(st.sets(st.integers(0, 255), min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_structure_masks_say_where_any_of_their_labels_is(labels: AnyArray, values: list[set[int]]) -> None:
    structures = [Structure(name=str(number), values=tuple(chosen)) for number, chosen in enumerate(values)]
    masks = structure_masks(labels, structures)
    assert masks.shape == (labels.shape[0], len(values), *labels.shape[1:])
    assert masks.dtype == np.bool_
    for channel, chosen in enumerate(values):
        np.testing.assert_array_equal(masks[:, channel], np.isin(labels, list(chosen)))
