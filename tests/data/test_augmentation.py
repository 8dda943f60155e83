"""Augmentation: deterministic, paired, within the window, and without new labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdseg.artifacts.image_contract import ImageContract
from sdseg.data.augmentation import StrongAugmentation
from sdseg.data.quick_augmentation import QuickAugmentation
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


def test_patches_of_volumes_are_changed_within_their_slices() -> None:
    """A mask of one slice stays one of one slice, wherever that goes, and on what it outlines."""
    image, mask = sample(CT)
    low = CT.window[0]
    patch, masks = np.full((5, *image.shape), low, np.float32), np.zeros((1, 5, 32, 32), np.bool_)
    patch[1], masks[0, 1] = image, mask[0]
    augment, slices, areas = StrongAugmentation(CT, (5, 32, 32)), set(), set()
    for seed in range(12):
        changed, moved = augment(patch, masks, seed)
        assert changed.shape == patch.shape
        (only,) = np.flatnonzero(moved[0].any(axis=(1, 2)))
        assert still(changed[only], moved[0, only]) > 0.85
        slices.add(int(only))
        areas.add(int(moved.sum()))
    assert slices == {1, 3}
    assert len(areas) > 6


def test_seeds_move_turn_and_recolour() -> None:
    augment = StrongAugmentation(RGB)
    areas, levels = set(), set()
    for seed in range(20):
        image, mask = augment(*sample(RGB), seed)
        areas.add(int(mask.sum()))
        levels.add(round(float(image[mask[0]].mean())))
    assert len(areas) > 8
    assert len(levels) > 5


def still(image: np.ndarray, mask: np.ndarray) -> float:
    """Dice of the mask with the brighter half of the image's range."""
    bright = image[..., 0] > (image[..., 0].min() + image[..., 0].max()) / 2
    return float(2 * (bright & mask).sum() / (bright.sum() + mask.sum()))


@given(seed=st.integers(0, 2**31), affine=st.booleans(), colours=st.booleans())
@settings(max_examples=60, deadline=None)
def test_quick_augmentation_keeps_pairs_and_windows(seed: int, affine: bool, colours: bool) -> None:
    contract = RGB if colours else CT
    before, outlined = sample(contract)
    image, mask = QuickAugmentation(contract, affine=affine)(before, outlined, seed)
    low, high = contract.window
    assert image.shape == before.shape
    assert (image.dtype, mask.dtype) == (np.float32, np.bool_)
    assert image.min() >= low - 1e-2
    assert image.max() <= high + 1e-2
    if affine:
        assert still(image, mask[0]) > 0.85
    else:
        np.testing.assert_array_equal(mask, outlined)
    again, _ = QuickAugmentation(contract, affine=affine)(before, outlined, seed)
    np.testing.assert_array_equal(image, again)


def test_quick_augmentation_turns_zooms_moves_and_recolours() -> None:
    augment = QuickAugmentation(RGB, affine=True)
    before, outlined = sample(RGB)
    pairs = [augment(before, outlined, seed) for seed in range(30)]
    areas = [mask.sum() / outlined.sum() for _, mask in pairs]
    assert min(areas) < 0.75  # zooms of e^−0.25 to e^0.25 along each axis
    assert max(areas) > 1.3
    centres = np.array([np.argwhere(mask[0]).mean(axis=0) for _, mask in pairs])
    assert np.ptp(centres, axis=0).min() > 2.0  # pixels, of 32
    grey = np.array([image[mask[0]].mean() for image, mask in pairs])
    tint = np.array([np.ptp(image[mask[0]].mean(axis=0)) for image, mask in pairs])
    assert np.ptp(grey) > 40
    assert tint.max() > 15


def test_every_structure_goes_the_same_way() -> None:
    contract = CT
    image = np.zeros((32, 32, 1), np.float32)
    mask = np.zeros((2, 32, 32), bool)
    mask[0, 14:18, 14:18] = True  # about the centre, (15.5, 15.5)
    mask[1] = ~mask[0]
    low, high = contract.window
    image[...] = low
    image[mask[0]] = high
    moved, masks = QuickAugmentation(contract, affine=True)(image, mask, 4)
    np.testing.assert_array_equal(masks[1], ~masks[0])  # both went the same way
    assert still(moved, masks[0]) > 0.9
