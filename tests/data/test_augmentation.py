"""Strong augmentation: deterministic, paired, within the window, and without new labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdseg.artifacts.manifests import ImageContract
from sdseg.data.augmentation import StrongAugmentation
from tests.helpers.tiny import CT, RGB, picture


def sample(contract: ImageContract) -> tuple[np.ndarray, np.ndarray]:
    """An image that shows its mask: −1 outside, 1 inside."""
    _, label = picture(contract, seed=3)
    low, high = contract.window
    image = np.where(label[..., None] == 1, high, low).repeat(contract.channels, -1).astype(contract.dtype)
    return image, (label == 1)[None]


@pytest.mark.parametrize("contract", [RGB, CT], ids=["rgb", "ct"])
def test_same_seed_same_sample(contract: ImageContract) -> None:
    augment = StrongAugmentation(contract)
    one, again, other = (augment(*sample(contract), seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one[0], again[0])
    np.testing.assert_array_equal(one[1], again[1])
    assert not np.array_equal(one[0], other[0])


@given(seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_mask_stays_on_what_it_outlines(seed: int) -> None:
    """Whatever was drawn, image and mask moved together: inside stays brighter than outside, nearly everywhere."""
    contract = CT
    image, mask = StrongAugmentation(contract)(*sample(contract), seed)
    low, high = contract.window
    assert image.shape == (32, 32, 1)
    assert image.dtype == np.float32
    assert image.min() >= low - 1e-2
    assert image.max() <= high + 1e-2
    bright = image[..., 0] > (image.min() + image.max()) / 2
    inside = mask[0]
    assert inside.any()
    assert 2 * (bright & inside).sum() / (bright.sum() + inside.sum()) > 0.85


def test_seeds_move_turn_and_recolour() -> None:
    augment = StrongAugmentation(RGB)
    areas, levels = set(), set()
    for seed in range(20):
        image, mask = augment(*sample(RGB), seed)
        areas.add(int(mask.sum()))
        levels.add(round(float(image[mask[0]].mean())))
    assert len(areas) > 8
    assert len(levels) > 5
