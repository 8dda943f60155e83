"""Scores of cases over batches, and which of many are looked at."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdseg.core.array_types import MaskArray, RawImages
from sdseg.core.errors import ListedError
from sdseg.data.batches import check_store, evenly_spread, score_cases, slice_batches
from sdseg.data.store import SliceStore, structure_masks
from tests.helpers.tiny import CT, DISC_CUP, POLYP, RGB, write_store


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 50])
def test_scores_are_those_of_whole_cases_in_any_batch(batch: int, tmp_path: Path) -> None:
    store = SliceStore.open(write_store(tmp_path / "store", CT, DISC_CUP, {"train": (2,), "test": (3, 1, 4, 2)}))
    cases = store.cases_of("test")
    asked: list[int] = []

    def half(images: RawImages, labelled: MaskArray) -> MaskArray:
        """Labels without their left half."""
        asked.append(len(images))
        predicted = labelled.copy()
        predicted[..., : predicted.shape[-1] // 2] = False
        return predicted

    scores = list(score_cases(half, store, cases, batch))
    assert [score.case for score in scores] == list(cases)
    assert asked == [*[batch] * (10 // batch), *([10 % batch] if 10 % batch else [])]
    for score in scores:
        labelled = structure_masks(store.masks[score.case.rows], DISC_CUP)
        kept = labelled[..., labelled.shape[-1] // 2 :]
        for structure in range(2):
            whole, part = int(labelled[:, structure].sum()), int(kept[:, structure].sum())
            assert score.dice[structure] == pytest.approx(2 * part / (whole + part) if whole else 1.0)
            assert score.iou[structure] == pytest.approx(part / whole if whole else 1.0)
        assert score.mean_dice == pytest.approx(float(np.mean(score.dice)))


def test_a_case_is_scored_once_its_last_slice_is_in(tmp_path: Path) -> None:
    store = SliceStore.open(write_store(tmp_path / "store", CT, DISC_CUP, {"train": (1,), "test": (1, 1, 1)}))
    asked: list[int] = []

    def all_of_it(images: RawImages, labelled: MaskArray) -> MaskArray:
        asked.append(len(images))
        return labelled

    next(score_cases(all_of_it, store, store.cases_of("test"), 1))
    assert asked == [1]


def test_evenly_spread_by_hand() -> None:
    assert evenly_spread(range(10), 4) == (0, 3, 6, 9)
    assert evenly_spread(range(5), 4) == (0, 1, 2, 4)
    assert evenly_spread(range(3), 5) == (0, 1, 2)
    assert evenly_spread(range(3), None) == (0, 1, 2)
    assert evenly_spread(range(9), 1) == (0,)


@given(st.integers(2, 400), st.data())
def test_steps_between_evenly_spread_items_are_even(length: int, data: st.DataObject) -> None:
    most = data.draw(st.integers(2, length))
    chosen = evenly_spread(range(length), most)
    assert (len(chosen), chosen[0], chosen[-1]) == (most, 0, length - 1)
    steps = {later - earlier for earlier, later in pairwise(chosen)}
    assert min(steps) >= 1
    assert max(steps) - min(steps) <= 2


def test_batches_cover_every_slice_once(tmp_path: Path) -> None:
    store = SliceStore.open(write_store(tmp_path / "s", cases={"train": (2, 1), "test": (3, 1, 4)}))
    found = list(slice_batches(store, store.cases_of("test"), (1, 2, 3, 5)))
    assert [len(batch.images) for batch in found] == [1, 2, 3, 2]
    assert [row for batch in found for row in batch.rows] == list(range(3, 11))
    assert [name for batch in found for name in batch.cases] == ["test/0 é"] * 3 + ["test/1 é"] + ["test/2 é"] * 4
    np.testing.assert_array_equal(found[2].images, store.images[6:9])
    np.testing.assert_array_equal(found[2].labelled[:, 0], store.masks[6:9] == 1)


def test_every_difference_is_named(tmp_path: Path) -> None:
    store = SliceStore.open(write_store(tmp_path / "s"))
    other = RGB.model_copy(update={"size": 64, "window": (0.0, 100.0)})
    with pytest.raises(ListedError, match="does not fit the prepared data") as caught:
        check_store(store, Path("m"), other, DISC_CUP, "test")
    assert caught.value.problems == (
        "size: the data have 32, the model wants 64",
        "window: the data have 0 to 255, the model wants 0 to 100",
        "structures: the data have polyp (1), the model finds disc (1+2), cup (2)",
    )
    assert [case.split for case in check_store(store, Path("m"), RGB, POLYP, "val")] == ["val"]
