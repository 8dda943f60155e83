"""Random shapes: form, repeatability, variety."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdseg.models.random_shapes import random_shapes


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 40), size=st.integers(8, 80))
def test_form(seed, count, size):
    masks = random_shapes(np.random.default_rng(seed), count, size)
    assert masks.shape == (count, size, size)
    assert masks.dtype == np.bool_


def test_same_generator_same_shapes():
    first, second = (random_shapes(np.random.default_rng(7), 200, 32) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, random_shapes(np.random.default_rng(8), 200, 32))


def test_variety():
    masks = random_shapes(np.random.default_rng(0), 600, 64)
    area = masks.mean(axis=(1, 2))
    assert 0.01 < (area == 0).mean() < 0.1  # empty ones
    assert 0.01 < (area > 0.6).mean() < 0.12  # nearly full ones
    parts = np.array([cv2.connectedComponents(mask.astype(np.uint8))[0] - 1 for mask in masks])
    assert (parts == 1).mean() > 0.3
    assert (parts >= 6).mean() > 0.05  # rows of teeth and groups of organs
    holes = [cv2.connectedComponents((~np.pad(mask, 1)).astype(np.uint8), connectivity=4)[0] > 2 for mask in masks]
    assert np.mean(holes) > 0.04  # rings
    assert len(np.unique(masks.reshape(600, -1), axis=0)) > 550


def test_shapes_keep_their_size_at_another_resolution():
    """Lengths are shares of the picture, so the same draw covers about the same area at any size."""
    coarse, fine = (random_shapes(np.random.default_rng(1), 400, size).mean() for size in (32, 128))
    assert coarse == pytest.approx(fine, abs=0.02)


@pytest.mark.parametrize(("count", "size"), [(-1, 64), (4, 7)])
def test_impossible_requests(count, size):
    with pytest.raises(ValueError, match=r"must not be negative and size .* at least 8"):
        random_shapes(np.random.default_rng(0), count, size)
