"""Surface distances against SimpleITK, MONAI's own metrics, and shapes whose distances are known."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from monai.metrics.utils import get_mask_edges, get_surface_distance

from sdseg.metrics.surface import SurfaceDistances, hausdorff, surface_dice, surface_distances

SPACING = (2.5, 0.7, 0.9)  # mm between slices, rows, columns


def box(*bounds: tuple[int, int], shape: tuple[int, ...] = (8, 20, 20)) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.bool_)
    mask[tuple(slice(*bound) for bound in bounds)] = True
    return mask


def masks(shape: tuple[int, ...] = (4, 6, 7)) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.bool_, shape, elements=st.booleans(), fill=st.booleans())


def test_a_box_moved_by_three_rows() -> None:
    one, other = box((1, 6), (2, 10), (5, 15)), box((1, 6), (5, 13), (5, 15))
    found = surface_distances(one, other, SPACING)
    assert hausdorff(found, 100) == pytest.approx(3 * 0.7)
    assert surface_dice(found, 3 * 0.7 + 1e-6) == 1
    assert 0 < surface_dice(found, 0.1) < 1


def test_spacing_is_that_of_its_axis() -> None:
    one = box((3, 4), (5, 6), (5, 6))
    for axis, length in enumerate(SPACING):
        assert hausdorff(surface_distances(one, np.roll(one, 2, axis=axis), SPACING)) == pytest.approx(2 * length)


def test_known_percentiles_and_shares() -> None:
    distances = SurfaceDistances(np.arange(101.0), np.array([0.0, 0.0, 10.0, 50.0]))
    assert hausdorff(distances) == 95.0
    assert hausdorff(distances, 50) == 50.0
    assert surface_dice(distances, 10) == (11 + 3) / (101 + 4)


def test_a_single_slice_has_an_outline_only() -> None:
    one, other = box((2, 12), (2, 12), shape=(20, 20)), box((4, 10), (4, 10), shape=(20, 20))
    flat, deep = surface_distances(one, other, SPACING[1:]), surface_distances(one[None], other[None], SPACING)
    np.testing.assert_array_equal(flat.to_label, deep.to_label)
    assert len(flat.to_label) == 4 * 9


@settings(max_examples=40)
@given(masks(), masks())
def test_agrees_with_monai_and_simpleitk(one: np.ndarray, other: np.ndarray) -> None:
    assume(one.any() and other.any())
    found = surface_distances(one, other, SPACING)
    edges = get_mask_edges(one, other)
    for direction, (points, others) in zip(found, (edges, edges[::-1]), strict=True):
        np.testing.assert_array_equal(direction, get_surface_distance(points, others, spacing=SPACING))
    tensors = [torch.from_numpy(mask)[None, None] for mask in (one, other)]
    for percentile in (95, 100):
        theirs = compute_hausdorff_distance(*tensors, include_background=True, percentile=percentile, spacing=SPACING)
        # MONAI interpolates percentiles in single precision: nanometres may be missing.
        assert hausdorff(found, percentile) == pytest.approx(float(theirs), rel=1e-5, abs=1e-5)
    theirs = compute_surface_dice(*tensors, [1.5], include_background=True, spacing=SPACING)
    assert surface_dice(found, 1.5) == pytest.approx(float(theirs), rel=1e-5)

    images = []
    for mask in (one, other):
        image = SimpleITK.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))
        image.SetSpacing(SPACING[::-1])
        images.append(SimpleITK.BinaryContour(image, fullyConnected=False))
    measure = SimpleITK.HausdorffDistanceImageFilter()
    measure.Execute(*images)
    assert hausdorff(found, 100) == pytest.approx(measure.GetHausdorffDistance(), rel=1e-5)


@settings(max_examples=40)
@given(masks(), masks(), st.floats(0, 20))
def test_symmetric_bounded_and_growing(one: np.ndarray, other: np.ndarray, tolerance: float) -> None:
    assume(one.any() and other.any())
    found, turned = surface_distances(one, other, SPACING), surface_distances(other, one, SPACING)
    assert hausdorff(found) == hausdorff(turned)
    assert surface_dice(found, tolerance) == surface_dice(turned, tolerance)
    assert 0 <= surface_dice(found, tolerance) <= surface_dice(found, tolerance + 1) <= 1
    assert hausdorff(found) <= hausdorff(found, 100)
    assert hausdorff(surface_distances(one, one, SPACING), 100) == 0
