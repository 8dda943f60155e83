"""Several masks per case: how people may keep them, what the store holds, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from sdseg.artifacts.manifests import PreparedManifest
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import read_json
from sdseg.data.native_labels import NativeLabels
from sdseg.data.store import SliceStore
from sdseg.datasets.mask_values import ExactValues
from sdseg.datasets.raw_cases import open_raw
from tests.helpers.annotated import OWN, READERS, annotated_settings, drawn, prepare_annotated, write_annotated
from tests.helpers.raw_files import write_kseg
from tests.helpers.tiny import write_store


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return prepare_annotated(tmp_path_factory.mktemp("annotated"))


def test_the_store_holds_every_annotator_and_their_majority(places: tuple[Path, Path]) -> None:
    store = SliceStore.open(places[1], verify=True)
    assert store.manifest.annotators == READERS
    for number, case in enumerate(store.cases):
        own = [drawn(number, reader) > 0 for reader in range(3)]
        for name, mask in zip(READERS, own, strict=True):
            assert np.array_equal(store.drawn_by(name, case.rows)[0], mask)
            assert np.array_equal(store.drawn_by(name, [case.start])[0], mask)
        assert np.array_equal(store.masks[case.start] > 0, np.sum(own, axis=0) >= 2)  # two of three
        assert dict(case.annotations)["ben"] == f"masks/ben/{case.case}.png"
        assert case.label == case.annotations[0][1]


def test_native_labels_are_the_majority_of_the_files(places: tuple[Path, Path]) -> None:
    store = SliceStore.open(places[1])
    native = NativeLabels(store, places[0], ExactValues(((0, 0), (255, 1))))
    for case in store.cases[:2]:
        assert np.array_equal(native.read(case), store.masks[case.rows])


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    _, prepared = prepare_annotated(tmp_path)
    with (prepared / "annotator_masks.npy").open("r+b") as stream:
        stream.seek(-3, 2)
        stream.write(b"???")
    with pytest.raises(ListedError, match=r"annotator_masks\.npy"):
        SliceStore.open(prepared, verify=True)
    (prepared / "annotator_mask_ends.npy").unlink()
    with pytest.raises(ListedError, match=r"(?s)lacks files.*annotator_mask_ends\.npy"):
        SliceStore.open(prepared)


def test_without_annotators_nothing_says_so(tmp_path: Path) -> None:
    folder = write_store(tmp_path / "store")
    assert "annotators" not in json.loads((folder / "manifest.json").read_text("utf-8"))
    assert (folder / "cases.csv").read_text("utf-8").splitlines()[0].endswith(",affine,sha256")
    store = SliceStore.open(folder)
    assert (store.manifest.annotators, store.annotator_masks) == ((), None)
    assert np.array_equal(store.drawn_by("", slice(0, 2)), store.masks[0:2])
    assert "annotators" not in read_json(folder / "manifest.json", PreparedManifest).model_dump(mode="json")
    assert "missing_annotators" not in annotated_settings().model_dump(mode="json")


def test_suffixes_tell_annotators(tmp_path: Path) -> None:
    raw = write_annotated(tmp_path / "raw")
    (raw / "together").mkdir()
    for name in READERS:
        for path in (raw / "masks" / name).iterdir():
            path.rename(raw / "together" / f"{path.stem}_{name}.png")
    layout = {"masks": "together", "annotators": {}, "mask_name": r"(?P<id>.+)_(?P<annotator>[a-z]+)"}
    cases = open_raw(annotated_settings(own=layout), raw)[1]
    assert [name for name, _ in cases[0].annotations] == list(READERS)
    with pytest.raises(ListedError, match=r"(?s)id 'a' twice: .*by several annotators\? then say who drew which"):
        open_raw(annotated_settings(own=layout | {"mask_name": r"(?P<id>.+)_[a-z]+"}), raw)


def test_a_table_has_a_column_for_each(tmp_path: Path) -> None:
    raw = write_annotated(tmp_path / "raw")
    columns = ("image", *(f"by {name}" for name in READERS))
    with (raw / "cases.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(columns)
        table.writerows([f"images/{case}.png", *(f"masks/{name}/{case}.png" for name in READERS)] for case in "ab")
        table.writerow(["images/c.png", "masks/anna/c.png", "", "masks/cleo/c.png"])
    layout = {
        "layout": "table",
        "images": None,
        "table": "cases.csv",
        "annotators": {name: f"by {name}" for name in READERS},
    }
    cases = open_raw(annotated_settings(own=layout, missing_annotators="allow"), raw)[1]
    assert [[name for name, _ in case.annotations] for case in cases] == [list(READERS)] * 2 + [["anna", "cleo"]]
    with pytest.raises(
        ListedError, match=r"(?s)1 of 3 cases lack the mask of an annotator \(anna, ben, cleo\).*c: ben"
    ):
        open_raw(annotated_settings(own=layout), raw)
    with pytest.raises(ListedError, match="column 'drawn' is missing"):
        open_raw(annotated_settings(own=layout | {"annotators": {"anna": "by anna", "ben": "drawn"}}), raw)
    one = {"annotators": {}, "mask_values": {255: 1}}
    (raw / "cases.csv").write_text("image,mask\nimages/a.png,masks/anna/a.png\nimages/a.png,masks/ben/a.png\n", "utf-8")
    with pytest.raises(ListedError, match=r"(?s)line 3: id 'a' again.*masks of several annotators in one line"):
        open_raw(annotated_settings(own=layout | one), raw)


def test_an_annotator_may_leave_out_a_case_where_that_is_allowed(tmp_path: Path) -> None:
    raw = write_annotated(tmp_path / "raw")
    (raw / "masks" / "ben" / "c.png").unlink()
    with pytest.raises(ListedError, match=r"(?s)1 of 6 cases lack .*c: ben.*missing_annotators: allow"):
        open_raw(annotated_settings(), raw)
    from sdseg.data.prepare import prepare
    from tests.helpers.raw_files import SIX, write_split

    split = write_split(tmp_path / "split.csv", SIX)
    settings = annotated_settings(missing_annotators="allow")
    prepare(name="nodules", settings=settings, raw=raw, split=split, output=tmp_path / "prepared")
    store = SliceStore.open(tmp_path / "prepared", verify=True)
    third = store.cases[2]
    assert [name for name, _ in third.annotations] == ["anna", "cleo"]
    assert not store.drawn_by("ben", third.rows).any()
    assert np.array_equal(store.masks[third.start] > 0, drawn(2, 0) > 0)  # anna's alone: half of the two that are there


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"masks": "masks/anna"}, "'masks' and 'annotators' both say where masks lie"),
        ({"annotators": {"anna": "masks/anna"}}, "'annotators' names one: leave it out"),
        ({"annotators": {"anna": "masks/x", "ben": "masks/x"}}, "names one place twice"),
        ({"annotators": {"anna": "../x", "ben": "masks/x"}}, r"must lie below the raw folder, not at '\.\./x'"),
        ({"mask_name": "(?P<id>.+)_(?P<annotator>.)"}, "both say who drew a mask"),
        ({"annotators": {}}, "'layout: folders' needs 'masks'"),
        ({"layout": "nnunet", "images": None, "labels": {}, "mask_values": {}}, "does not belong to 'layout: nnunet'"),
    ],
)
def test_settings_that_contradict_themselves(own: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        annotated_settings(own={**OWN, **own})


def test_a_case_needs_someone(tmp_path: Path) -> None:
    raw = write_annotated(tmp_path / "raw")
    for name in READERS:
        (raw / "masks" / name / "c.png").unlink()
    with pytest.raises(ListedError, match=r"image without mask: images/c\.png"):
        open_raw(annotated_settings(missing_annotators="allow"), raw)
    assert not open_raw(annotated_settings_of_one(), write_kseg(tmp_path / "one"))[1][0].annotations


def annotated_settings_of_one() -> object:
    folder = {"images": "Kvasir-SEG/images", "masks": "Kvasir-SEG/masks", "annotators": {}, "lossy_masks": True}
    return annotated_settings(own=folder)


def test_masks_of_several_where_one_is_expected(tmp_path: Path) -> None:
    raw = write_annotated(tmp_path / "raw")
    one = annotated_settings(own={"annotators": {}, "masks": "masks"})
    with pytest.raises(UserError, match=r"(?s)its folders do \(anna, ben, cleo\): one mask .*\{anna: masks/anna, "):
        open_raw(one, raw)


@pytest.mark.parametrize("missing", ["refuse", "allow"])
def test_an_annotator_without_a_mask_is_misnamed(tmp_path: Path, missing: str) -> None:
    raw = write_annotated(tmp_path / "raw")
    wrong = annotated_settings(
        own={"annotators": {"anna": "masks/anna", "dora": "masks/dora"}}, missing_annotators=missing
    )
    with pytest.raises(UserError, match=r"no case has a mask of the annotator dora \(masks/dora\)"):
        open_raw(wrong, raw)
