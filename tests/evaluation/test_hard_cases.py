"""Where a model fails: sizes, contrasts, positions and their Dice, against cases made and counted by hand."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sdseg.artifacts.manifests import ModelManifest
from sdseg.artifacts.results.hard_cases import HardCases
from sdseg.core.files import read_json, write_json
from sdseg.data.packed_masks import pack, write_packed
from sdseg.data.store import SliceStore
from sdseg.evaluation.evaluate import evaluate
from sdseg.evaluation.hard_cases import CaseTraits, grouped, traits_of
from sdseg.report.report import report
from tests.helpers.tiny import CT, RGB, seal, write_model, write_store


def store_of(folder: Path, images: np.ndarray, labels: np.ndarray, image: Any = RGB, slices: int = 1) -> SliceStore:
    """A store with these test slices [N,32,32], grey, after one of another split."""
    count = len(images) // slices
    write_store(folder, image, cases={"train": (1,), "test": (slices,) * count})
    stored = np.load(folder / "images.npy")
    stored[1:] = images[..., None]
    np.save(folder / "images.npy", stored)
    write_packed(folder, pack(np.concatenate([np.zeros((1, 32, 32), np.uint8), labels.astype(np.uint8)])))
    return SliceStore.open(seal(folder))


def assessed(case: Any, dice: float = 0.5, name: str = "polyp") -> Any:
    return SimpleNamespace(
        case=case, headline=SimpleNamespace(structures={name: {"dice": SimpleNamespace(value=dice)}})
    )


def test_what_a_case_is_like_by_hand(tmp_path: Path) -> None:
    """A square of 8 × 8 at 204 on 51, in the middle, beside it, and at the border; and nothing."""
    labels = np.zeros((4, 32, 32), np.uint8)
    labels[0, 12:20, 12:20] = 1
    labels[1, 2:10, 12:20] = 1  # its centre is 10 of 15.5 pixels above the middle
    labels[2, 12:20, 24:32] = 1
    images = np.where(labels > 0, 204, 51)
    images[0, 0, 0] = 255  # far from the rim: it does not count
    store = store_of(tmp_path / "store", images, labels)
    found = [traits_of(assessed(case), store)[0] for case in store.cases_of("test")]
    assert [each.position for each in found] == ["central", "off centre", "touches the border", "empty"]
    assert [each.size for each in found] == pytest.approx([64 / 1024, 64 / 1024, 64 / 1024, 0])
    assert [each.contrast for each in found[:3]] == pytest.approx([0.6, 0.6, 0.6])
    assert np.isnan(found[3].contrast)


def test_the_rim_is_two_pixels_of_32_wide(tmp_path: Path) -> None:
    labels = np.zeros((1, 32, 32), np.uint8)
    labels[0, 12:20, 12:20] = 1
    images = np.full((1, 32, 32), 255)
    images[0, 10:22, 10:22] = 102  # the rim and its corners, which are too far
    images[0, 12:20, 12:20] = 204
    store = store_of(tmp_path / "store", images, labels)
    (found,) = traits_of(assessed(store.cases_of("test")[0]), store)
    assert found.contrast == pytest.approx(0.4)


def test_volumes_are_measured_in_millilitres(tmp_path: Path) -> None:
    labels = np.zeros((3, 32, 32), np.uint8)
    labels[0, 14:18, 14:18] = labels[1, 14:18, 14:18] = 1
    store = store_of(tmp_path / "store", np.where(labels > 0, 37, -48), labels, CT, slices=3)
    case = replace(store.cases_of("test")[0], spacing=(2.0, 3.0, 5.0))  # native slices have 48 × 40 pixels
    (found,) = traits_of(assessed(case), store)
    assert found.size == pytest.approx(32 * (48 / 32) * (40 / 32) * 30 / 1000)
    assert found.position == "central"
    assert found.contrast == pytest.approx(85 / 425)  # of the window -175 to 250


def test_groups_of_a_third_each() -> None:
    sizes = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    contrasts = [np.nan, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    places = ["empty", *["touches the border"] * 2, *["central"] * 4]
    dice = [1.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9]
    traits = [CaseTraits(f"c{n}", "polyp", dice[n], sizes[n], contrasts[n], places[n]) for n in range(7)]
    record, group_of = grouped(traits, "share")
    found = {(one.by, one.group): (one.n, one.dice and round(one.dice.mean, 6)) for one in record.groups}
    assert found == {
        ("size", "empty"): (1, 1.0),
        ("size", "small"): (2, 0.3),
        ("size", "medium"): (2, 0.65),
        ("size", "large"): (2, 0.85),
        ("contrast", "low"): (2, 0.85),
        ("contrast", "medium"): (2, 0.65),
        ("contrast", "high"): (2, 0.3),
        ("position", "touches the border"): (2, 0.3),
        ("position", "central"): (4, 0.75),
        ("position", "off centre"): (0, None),
    }
    assert group_of["size"] == ["empty", "small", "small", "medium", "medium", "large", "large"]
    assert group_of["contrast"] == ["empty", "high", "high", "medium", "medium", "low", "low"]
    small = next(one for one in record.groups if one.group == "small")
    assert (small.low, small.high, small.worst) == (0.1, 0.2, "c1")
    assert [(one.by, one.group) for one in record.hardest(2)] == [("size", "small")]
    assert record.hardest(5) == ()


def test_few_cases_are_not_grouped_by_thirds() -> None:
    traits = [CaseTraits(str(n), "polyp", 0.5, 0.1 * n, 0.5, "central") for n in range(1, 6)]
    record, group_of = grouped(traits, "share")
    assert {one.by for one in record.groups} == {"size", "position"}
    assert record.ungrouped == {"polyp": "5 labelled cases, and 6 or more make three groups"}
    assert group_of["size"] == ["n/a"] * 5


def test_evaluation_writes_them_and_the_page_shows_them(tmp_path: Path) -> None:
    data = tmp_path / "results" / "tiny"
    write_store(data / "prepared", cases={"train": (1,), "test": (1,) * 7}, empty=(1,))
    config = write_model(data / "unet" / "model") / "config.json"
    training = {"steps": 1, "batch": 1, "seconds": 1.0, "parameters": {}}
    write_json(config, read_json(config, ModelManifest).model_copy(update={"training": training}))
    evaluate(data / "prepared", data / "unet" / "model", data / "unet" / "evaluation")
    record = read_json(data / "unet" / "evaluation" / "hard_cases.json", HardCases)
    with (data / "unet" / "evaluation" / "hard_cases.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (data / "unet" / "evaluation" / "cases.csv").open(encoding="utf-8", newline="") as stream:
        dice = {row["case"]: float(row["dice"]) for row in csv.DictReader(stream)}
    assert {row["case"]: float(row["dice"]) for row in rows} == dice
    for one in record.groups:
        column = "position" if one.by == "position" else f"{one.by}_group"
        chosen = [dice[row["case"]] for row in rows if row[column] == one.group]
        assert one.n == len(chosen)
        assert one.dice is None or one.dice.mean == pytest.approx(np.mean(chosen), abs=1e-6)
    assert sum(one.n for one in record.groups if one.by == "size") == 7
    report(tmp_path / "results", tmp_path / "page.html", None)
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "Hard cases" in page
    assert "touches the border" in page
