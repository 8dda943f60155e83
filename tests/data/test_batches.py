"""Scores of cases over batches, and which of many are looked at."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdseg.core.array_types import MaskArray, RawImages
from sdseg.data.batches import evenly_spread, score_cases
from sdseg.data.store import SliceStore, structure_masks
from tests.helpers.tiny import CT, DISC_CUP, write_store


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
