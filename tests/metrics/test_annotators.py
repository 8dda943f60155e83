"""Hypotheses against annotators: hand-computed cases, and the same figures by loops over pairs of masks."""

from __future__ import annotations

from itertools import combinations, product
from statistics import mean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdseg.metrics.annotators import ANNOTATOR_METRICS, PairwiseOverlap, consensus, score_hypotheses


def row(*drawn: str) -> np.ndarray:
    """Masks [n,1,W] drawn with # and dots."""
    return np.array([[[letter == "#" for letter in one]] for one in drawn])


def scores(hypotheses: np.ndarray, annotated: np.ndarray, majority: np.ndarray) -> dict[str, float]:
    return {
        name: score.value
        for name, score in score_hypotheses([PairwiseOverlap(hypotheses, annotated, majority)]).items()
    }


def test_a_case_computed_by_hand() -> None:
    # d to the annotators: first hypothesis 0 and 1/2; second 1 and 1. Between hypotheses 1, between annotators 1/2.
    found = scores(row("##..", "..##"), row("##..", "#..."), row("##..")[0])
    # over all pairs, itself included: 2·(0 + 1/2 + 1 + 1)/4 − (0+1+1+0)/4 − (0+½+½+0)/4
    assert found["energy_distance"] == pytest.approx(1.25 - 0.5 - 0.25)
    assert found["best_dice"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["mean_dice"] == pytest.approx((1 + 2 / 3 + 0 + 0) / 4)
    assert found["majority_dice"] == pytest.approx(0.5)
    assert (found["diversity"], found["disagreement"]) == pytest.approx((1.0, 0.5))
    assert found["annotators_dice"] == pytest.approx(2 / 3)


def test_empty_against_empty_is_no_distance() -> None:
    found = scores(row("....", "...."), row("....", "...."), row("....")[0])
    assert (found["energy_distance"], found["best_dice"], found["majority_dice"]) == (0.0, 1.0, 1.0)
    half = scores(row("...."), row("....", "##.."), row("##..")[0])
    # 2·(0 + 1)/2 − 0 − (0+1+1+0)/4
    assert half["energy_distance"] == pytest.approx(0.5)
    assert (half["best_dice"], half["majority_dice"]) == (0.5, 0.0)


def test_hypotheses_like_the_annotators_have_no_energy_distance() -> None:
    readers = row("##..", "#...", "....", ".##.")
    assert scores(readers, readers, readers[0])["energy_distance"] == pytest.approx(0.0)


def test_one_hypothesis_has_no_diversity() -> None:
    score = score_hypotheses([PairwiseOverlap(row("#..."), row("#...", "##.."), row("#...")[0])])
    assert score["diversity"].reason == "one hypothesis: nothing to differ from"
    assert np.isnan(score["diversity"].value)
    alone = score_hypotheses([PairwiseOverlap(row("#...", "##.."), row("#..."), row("#...")[0])])
    assert alone["disagreement"].reason == alone["annotators_dice"].reason == "one annotator"


def iou(a: np.ndarray, b: np.ndarray) -> float:
    union = np.logical_or(a, b).sum()
    return 1.0 if union == 0 else float(np.logical_and(a, b).sum() / union)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * iou(a, b) / (1 + iou(a, b))


masks = st.integers(1, 4).flatmap(lambda n: arrays(np.bool_, (n, 2, 3), elements=st.booleans(), fill=st.booleans()))


@settings(max_examples=60, deadline=None)
@given(masks, masks, arrays(np.bool_, (2, 3)))
def test_agrees_with_loops_over_pairs(own: np.ndarray, theirs: np.ndarray, majority: np.ndarray) -> None:
    def distance(first: np.ndarray, second: np.ndarray) -> float:
        return mean(1 - iou(a, b) for a, b in product(first, second))

    expected = {
        "energy_distance": 2 * distance(own, theirs) - distance(own, own) - distance(theirs, theirs),
        "best_dice": mean(max(dice(a, b) for a in own) for b in theirs),
        "mean_dice": mean(dice(a, b) for a, b in product(own, theirs)),
        "majority_dice": mean(dice(a, majority) for a in own),
    }
    if len(own) > 1:
        expected["diversity"] = mean(1 - iou(a, b) for a, b in combinations(own, 2))
    if len(theirs) > 1:
        expected["disagreement"] = mean(1 - iou(a, b) for a, b in combinations(theirs, 2))
        expected["annotators_dice"] = mean(dice(a, b) for a, b in combinations(theirs, 2))
    found = scores(own, theirs, majority)
    assert found.keys() == ANNOTATOR_METRICS.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12)
    assert found["energy_distance"] >= -1e-12  # IoU is a positive definite kernel
    pairs = PairwiseOverlap(own, theirs, majority)
    assert mean(pairs.dice_of_annotator(n) for n in range(len(theirs))) == pytest.approx(expected["mean_dice"])


def test_a_case_is_the_mean_over_its_structures() -> None:
    one = PairwiseOverlap(row("##..", "#..."), row("##.."), row("##..")[0])
    other = PairwiseOverlap(row("....", "...."), row("##.."), row("##..")[0])
    joined = score_hypotheses([one, other])
    parts = [score_hypotheses([each]) for each in (one, other)]
    assert joined["mean_dice"].value == pytest.approx(mean(part["mean_dice"].value for part in parts))


def test_consensus_by_hand() -> None:
    two = [np.array([1, 1, 0, 0, 2]), np.array([1, 0, 0, 2, 1])]
    assert consensus(two).tolist() == [1, 1, 0, 2, 1]  # half is enough; of two labels with a vote each the lower
    four = [np.array(row) for row in ([1, 1, 2, 0], [1, 0, 2, 2], [0, 0, 1, 1], [0, 0, 0, 2])]
    assert consensus(four).tolist() == [1, 0, 2, 2]
    assert consensus(np.zeros((3, 2, 2), np.uint8)).dtype == np.uint8


@given(arrays(np.uint8, (3, 4), elements=st.integers(0, 2)))
def test_consensus_of_three_is_what_two_of_them_say(maps: np.ndarray) -> None:
    merged = consensus(maps)
    for place in range(4):
        for label in (1, 2):
            if (maps[:, place] == label).sum() >= 2:
                assert merged[place] == label
        if (maps[:, place] > 0).sum() < 2:
            assert merged[place] == 0
