"""Intervals, seeds and the paired test: known cases, SciPy called directly, properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from sdseg.core.errors import ListedError, UserError
from sdseg.metrics.intervals import Interval, interval, over_seeds, paired


@settings(max_examples=20)
@given(arrays(np.float64, st.integers(2, 30), elements=st.floats(0, 1)))
def test_an_interval_holds_the_mean_and_stays_within_the_values(values: np.ndarray) -> None:
    found = interval(values)
    assert found is not None
    assert values.min() - 1e-12 <= found.low <= found.high <= values.max() + 1e-12
    assert found.low - 1e-9 <= values.mean() <= found.high + 1e-9 or len(values) < 5  # few cases: skewed resamples
    assert interval(values) == found


def test_an_interval_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(0.7, 0.1, 400)
    found = interval(values)
    assert found is not None
    expected = stats.norm.interval(0.95, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-3)


def test_few_or_equal_values() -> None:
    assert interval(np.array([0.5])) is None
    assert interval(np.array([])) is None
    assert interval(np.full(5, 0.25)) == Interval(0.25, 0.25)


def test_seeds() -> None:
    found = over_seeds([0.7, 0.8, 0.9])
    assert (found.mean, found.sd, found.n) == (pytest.approx(0.8), pytest.approx(0.1), 3)
    assert over_seeds([0.7]).sd == 0
    with pytest.raises(UserError, match="no result to average"):
        over_seeds([])


def test_two_recipes_on_the_same_cases() -> None:
    generator = np.random.default_rng(0)
    a = {f"case {number}": float(value) for number, value in enumerate(generator.uniform(0.5, 0.9, 30))}
    b = {case: value + 0.02 + 0.01 * float(generator.normal()) for case, value in reversed(a.items())}
    found, turned = paired(a, b), paired(b, a)
    assert found.p_value == stats.wilcoxon([b[case] - a[case] for case in a]).pvalue
    assert found.p_value == turned.p_value < 1e-4
    assert found.difference == pytest.approx(-turned.difference)
    assert found.difference == pytest.approx(0.02, abs=0.005)
    assert (found.better, found.worse, found.n) == (turned.worse, turned.better, 30)
    assert found.interval is not None
    assert found.interval.low > 0


def test_two_recipes_that_agree() -> None:
    found = paired({"a": 0.5, "b": 1.0}, {"a": 0.5, "b": 1.0})
    assert (found.p_value, found.difference, found.better, found.worse) == (1, 0, 0, 0)


def test_a_case_that_is_not_in_the_split() -> None:
    with pytest.raises(ListedError, match=r"2 case\(s\) are scored in one of the two results only") as caught:
        paired({"a": 0.5, "b": 1.0}, {"a": 0.5, "c": 1.0})
    assert caught.value.problems == ("b: in the first", "c: in the second")
    with pytest.raises(UserError, match="no case to compare"):
        paired({}, {})
