"""The one definition of a mask: above the threshold and, of structures that exclude each other, the likeliest."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdseg.data.mask_rule import MaskRule
from sdseg.metrics.calibration import THRESHOLDS, ThresholdCounts
from sdseg.metrics.overlap import counts, dice

LEVELS = st.sampled_from([0.0, 0.2, 0.45, 0.5, 0.55, 0.9, 1.0])  # few of them, so that ties occur
PROBABILITY = arrays(np.float32, st.tuples(st.just(2), st.integers(1, 4), st.just(2), st.just(3)), elements=LEVELS)
ROOT = Path(__file__).resolve().parents[2]


def test_by_hand() -> None:
    probability = (
        np.array([0.6, 0.5, 0.7, 0.9], np.float32).reshape(1, 1, 4),
        np.array([0.8, 0.4, 0.7, 0.2], np.float32).reshape(1, 1, 4),
    )
    both = np.concatenate(probability)  # [K,H,W]
    np.testing.assert_array_equal(MaskRule().masks(both)[:, 0], [[1, 0, 1, 1], [1, 0, 1, 0]])
    np.testing.assert_array_equal(MaskRule(exclusive=True).masks(both)[:, 0], [[0, 0, 1, 1], [1, 0, 0, 0]])
    np.testing.assert_array_equal(MaskRule(0.85, exclusive=True).masks(both)[:, 0], [[0, 0, 0, 1], [0, 0, 0, 0]])


@given(PROBABILITY, st.sampled_from([0.1, 0.5, 0.6]), st.booleans())
def test_agrees_with_a_plain_loop(probability: np.ndarray, threshold: float, exclusive: bool) -> None:
    found = MaskRule(threshold, exclusive).masks(probability)
    assert found.shape == probability.shape
    assert found.dtype == np.bool_
    for n, i, j in np.ndindex(2, 2, 3):
        values = [float(value) for value in probability[n, :, i, j]]
        above = [value > float(np.float32(threshold)) for value in values]
        expected = [is_above and (not exclusive or k == values.index(max(values))) for k, is_above in enumerate(above)]
        assert found[n, :, i, j].tolist() == expected


@given(PROBABILITY, st.booleans(), st.integers(0, 2**32 - 1))
def test_what_is_certain_survives_every_change_within_the_tolerance(
    probability: np.ndarray, exclusive: bool, seed: int
) -> None:
    rule, tolerance = MaskRule(exclusive=exclusive), 0.06
    certain = rule.certain(probability, tolerance)
    assert not (certain & ~rule.masks(probability)).any()
    generator = np.random.default_rng(seed)
    for _ in range(5):
        changed = probability + generator.choice([-0.059, 0.0, 0.059], probability.shape).astype(np.float32)
        assert not (certain & ~rule.masks(changed)).any()


@given(PROBABILITY, st.booleans())
def test_every_threshold_at_once_is_the_rule_at_each(probability: np.ndarray, exclusive: bool) -> None:
    """What --choose-threshold counts is what each threshold would give."""
    labelled = np.random.default_rng(0).random(probability.shape) < 0.5
    counted = ThresholdCounts(probability.shape[1])
    counted.add(MaskRule(exclusive=exclusive).contenders(probability), labelled)
    expected = [
        dice(counts(MaskRule(float(np.float32(one)), exclusive).masks(probability), labelled)).mean()
        for one in THRESHOLDS
    ]
    np.testing.assert_allclose(counted.dice(), expected)


@pytest.mark.parametrize("folder", ["sdseg", "benchmarks"])
def test_nothing_else_holds_a_model_against_its_threshold(folder: str) -> None:
    """A second definition would drift: `… > …threshold` stands in mask_rule.py alone."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Compare)
        and any(
            isinstance(one, ast.Name | ast.Attribute) and ast.unparse(one).endswith("threshold")
            for one in (node.left, *node.comparators)
        )
    ]
    own = [place for place in found if place.startswith("sdseg/data/mask_rule.py")]
    assert found == own
    assert folder != "sdseg" or own
