"""The reliability diagram and the sweep over thresholds: by hand, and by a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdseg.metrics.calibration import THRESHOLDS, Calibration, ThresholdCounts

SHAPE = (2, 3, 4, 5)
probabilities = arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32))
labels = arrays(np.bool_, SHAPE)


def test_by_hand() -> None:
    found = Calibration(bins=2)
    found.add(np.array([0.1, 0.3, 0.5], np.float32), np.array([False, False, True]))
    found.add(np.array([0.9], np.float32), np.array([True]))
    record = found.record()
    assert [each["pixels"] for each in record["bins"]] == [3, 1]  # 0.5 closes the lower bin
    assert [each["probability"] for each in record["bins"]] == pytest.approx([0.3, 0.9])
    assert [each["positives"] for each in record["bins"]] == pytest.approx([1 / 3, 1.0])
    assert record["ece"] == pytest.approx((abs(0.9 - 1) + abs(0.9 - 1)) / 4)


def test_bins_without_pixels_have_no_means() -> None:
    found = Calibration(bins=4)
    found.add(np.array([0.0, 1.0], np.float32), np.array([False, True]))
    assert [each["probability"] for each in found.record()["bins"]] == [0, None, None, 1]
    assert found.ece == 0


@settings(max_examples=30)
@given(probabilities, labels, st.integers(1, 20))
def test_agrees_with_a_plain_loop(probability: np.ndarray, labelled: np.ndarray, bins: int) -> None:
    found = Calibration(bins)
    for part in range(2):
        found.add(probability[part], labelled[part])
    p, y = probability.ravel().astype(np.float64), labelled.ravel()
    place = np.clip(np.ceil(probability.ravel() * bins).astype(int) - 1, 0, bins - 1)
    error = sum(
        (place == b).sum() / p.size * abs(p[place == b].mean() - y[place == b].mean())
        for b in range(bins)
        if (place == b).any()
    )
    assert found.ece == pytest.approx(error, abs=1e-9)
    assert 0 <= found.ece <= 1


@settings(max_examples=30)
@given(probabilities, labels)
def test_every_threshold_at_once(probability: np.ndarray, labelled: np.ndarray) -> None:
    found = ThresholdCounts(3)
    found.add(probability[:1], labelled[:1])
    found.add(probability[1:], labelled[1:])
    for threshold, mean in zip(THRESHOLDS, found.dice(), strict=True):
        predicted = probability > float(threshold)
        total = (predicted.sum((0, 2, 3)) + labelled.sum((0, 2, 3))).astype(float)
        both = (predicted & labelled).sum((0, 2, 3))
        dice = np.where(total == 0, 1.0, 2 * both / np.maximum(total, 1))
        assert mean == pytest.approx(dice.mean())
