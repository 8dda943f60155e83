from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.nn.functional import interpolate

from sdseg.core.array_types import AnyArray
from sdseg.data.slicing import from_slices, to_slices
from sdseg.data.transforms import (
    resize_images,
    resize_labels,
    restore_probability,
    stretch,
    to_display,
)

VOLUMES = hnp.arrays(np.int16, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7))
LABELS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9), elements=st.integers(0, 13))
SIZES = st.tuples(st.integers(1, 20), st.integers(1, 20))


@given(VOLUMES)
def test_volume_to_slices_to_volume_is_the_identity(volume: AnyArray) -> None:
    np.testing.assert_array_equal(from_slices(to_slices(volume, "axial"), "axial"), volume)


@given(VOLUMES)
def test_slices_that_keep_their_size_come_back_to_the_very_volume(volume: AnyArray) -> None:
    slices = to_slices(volume, "axial")
    kept = resize_images(slices[..., None], (slices.shape[1], slices.shape[2]))[..., 0]
    np.testing.assert_array_equal(from_slices(kept, "axial"), volume)


def test_a_slice_shows_the_front_above_and_the_right_at_the_left() -> None:
    volume = np.zeros((4, 5, 6), np.uint8)  # RAS+: the last x is the patient's right, the last y the front
    volume[3, 4, 2] = 1
    assert to_slices(volume, "axial").shape == (6, 5, 4)
    assert np.argwhere(to_slices(volume, "axial")).tolist() == [[2, 0, 0]]


@pytest.mark.parametrize("size", [(4, 5), (4, 11), (12, 30)])  # averaged, averaged and then bilinear, bilinear alone
def test_many_channels_are_resized_as_each_by_itself(size: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 65535, (2, 12, 15, 9)).astype(np.uint16)
    resized = resize_images(images, size)
    assert resized.shape == (2, *size, 9)
    for channel in range(9):
        np.testing.assert_array_equal(resized[..., channel : channel + 1], resize_images(images[..., [channel]], size))


@given(LABELS, SIZES)
def test_resizing_adds_no_label(labels: AnyArray, size: tuple[int, int]) -> None:
    resized = resize_labels(labels, size)
    assert resized.shape == (len(labels), *size)
    assert resized.dtype == labels.dtype
    for before, after in zip(labels, resized, strict=True):
        assert set(after.ravel()) <= set(before.ravel())


@given(LABELS, st.integers(1, 4))
def test_enlarging_whole_times_and_back_is_the_identity(labels: AnyArray, factor: int) -> None:
    _, rows, columns = labels.shape
    larger = resize_labels(labels, (rows * factor, columns * factor))
    np.testing.assert_array_equal(larger, labels.repeat(factor, axis=1).repeat(factor, axis=2))
    np.testing.assert_array_equal(resize_labels(larger, (rows, columns)), labels)


def test_halving_averages_what_falls_together() -> None:
    images = np.random.default_rng(0).integers(-1000, 1000, (2, 8, 12, 1)).astype(np.int16)
    mean = images.reshape(2, 4, 2, 6, 2, 1).mean(axis=(2, 4))
    resized = resize_images(images, (4, 6))
    assert resized.dtype == np.int16
    np.testing.assert_allclose(resized, mean, atol=0.51)


@pytest.mark.parametrize("size", [(10, 12), (4, 5), (3, 6), (8, 3)])
def test_resizing_is_bilinear_down_to_half_the_size(size: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(-1000, 1000, (2, 5, 6, 1)).astype(np.int16)
    expected = interpolate(torch.from_numpy(images[..., 0]).double()[:, None], size, mode="bilinear")[:, 0]
    np.testing.assert_allclose(resize_images(images, size)[..., 0], expected, atol=1.01)


def test_beyond_half_the_size_no_pixel_is_passed_by() -> None:
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 200  # plain bilinear sampling would see one colour of every fifth stripe
    for size in ((12, 12), (12, 40), (64, 12)):
        resized = resize_images(stripes, size)
        assert resized.shape == (1, *size, 3)
        assert abs(float(resized.mean()) - 100) < 3
    assert np.ptp(resize_images(stripes, (12, 12))) < 60


@given(hnp.arrays(np.int16, (2, 3, 4), elements=st.integers(-1100, 1500)))
def test_a_stretched_volume_spans_the_window(volume: AnyArray) -> None:
    window = (-125.0, 275.0)
    clipped = np.clip(volume.astype(float), *window)
    spread = np.clip(stretch(volume, window), *window)
    assert spread.shape == volume.shape
    if np.ptp(clipped):
        expected = -125 + (clipped - clipped.min()) / np.ptp(clipped) * 400
        np.testing.assert_allclose(spread, expected, atol=0.51)
    else:
        np.testing.assert_array_equal(spread, clipped)


@given(LABELS, SIZES)
def test_resizing_images_stays_within_their_range(images: AnyArray, size: tuple[int, int]) -> None:
    resized = resize_images(images[..., None], size)
    assert resized.shape == (len(images), *size, 1)
    assert images.min() <= resized.min()
    assert resized.max() <= images.max()


def test_a_disc_survives_the_working_size() -> None:
    y, x = np.mgrid[:288, :384]
    disc = (np.hypot(y - 150, x - 200) < 80)[None]
    back = restore_probability(resize_labels(disc.astype(np.uint8), (64, 64)).astype(np.float32), (288, 384)) > 0.5
    assert 2 * (back & disc).sum() / (back.sum() + disc.sum()) > 0.97


def test_restored_channels_stay_apart() -> None:
    masks = np.zeros((2, 3, 4, 4), np.float32)
    masks[1, 2] = 1
    restored = restore_probability(masks, (7, 9))
    assert restored.shape == (2, 3, 7, 9)
    assert restored[1, 2].all()
    assert restored.sum() == 7 * 9


def test_probability_is_restored_smoothly_within_its_range() -> None:
    probability = np.random.default_rng(0).random((2, 1, 8, 8), dtype=np.float32)
    restored = restore_probability(probability, (20, 12))
    assert restored.shape == (2, 1, 20, 12)
    assert restored.dtype == np.float32
    assert probability.min() <= restored.min()
    assert restored.max() <= probability.max()
    np.testing.assert_array_equal(restore_probability(probability, (8, 8)), probability)


@pytest.mark.parametrize(("value", "shown"), [(-1000, 0), (-175, 0), (37, 127), (250, 255), (3000, 255)])
def test_display_maps_the_window_to_grey(value: int, shown: int) -> None:
    pixels = to_display(np.full((2, 3, 1), value, np.int16), (-175.0, 250.0))
    assert pixels.shape == (2, 3, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == shown).all()


def test_display_leaves_colour_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(to_display(image, (0.0, 255.0)), image)
