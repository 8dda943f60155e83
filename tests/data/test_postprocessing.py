"""Largest component and filled holes, against SimpleITK and by hand; structures that exclude each other stay apart."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdseg.core.errors import UserError
from sdseg.data.batches import by_case
from sdseg.data.mask_rule import MaskRule
from sdseg.data.postprocessing import fill_holes, largest_component

BITS = st.sampled_from([False, True, True])  # enough of them to touch and to enclose
MASK = arrays(np.bool_, st.tuples(st.sampled_from([1, 3, 5]), st.integers(3, 7), st.integers(3, 7)), elements=BITS)


def drawn(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def itk(mask: np.ndarray) -> SimpleITK.Image:
    """An image has two axes in SimpleITK too."""
    return SimpleITK.GetImageFromArray((mask[0] if len(mask) == 1 else mask).astype(np.uint8))


@given(MASK)
def test_holes_as_simpleitk_fills_them(mask: np.ndarray) -> None:
    filled = SimpleITK.BinaryFillhole(itk(mask), fullyConnected=False, foregroundValue=1)
    expected = SimpleITK.GetArrayFromImage(filled).reshape(mask.shape) > 0
    np.testing.assert_array_equal(fill_holes(mask), expected)


@given(MASK)
def test_the_largest_component_as_simpleitk_ranks_them(mask: np.ndarray) -> None:
    parts = SimpleITK.GetArrayFromImage(SimpleITK.ConnectedComponent(itk(mask), True)).reshape(mask.shape)
    sizes = np.bincount(parts.ravel())[1:]
    kept = largest_component(mask)
    assert kept.sum() == sizes.max(initial=0)
    assert len(np.unique(parts[kept])) <= 1
    assert not (kept & ~mask).any()


def test_by_hand() -> None:
    mask = drawn("###....", "#.#..##", "###..##", "......#")  # a ring of 8 and a part of 5
    rule = MaskRule(largest_component=True, fill_holes=True)
    np.testing.assert_array_equal(rule.finish(mask[None, None])[0, 0, :, :3], drawn("###", "###", "###", "..."))
    assert rule.finish(mask[None, None]).sum() == 9
    assert MaskRule(fill_holes=True).finish(mask[None, None]).sum() == 14
    assert MaskRule(largest_component=True).finish(mask[None, None]).sum() == 8
    assert MaskRule().finish(mask[None, None]) is not None
    assert mask.sum() == 13  # what was given stays


def test_a_volume_is_one_thing() -> None:
    """A ring in every slice is a tube, open above and below; closed by lids it has a hole. Parts meet across slices."""
    ring = drawn("###", "#.#", "###")
    lid = np.ones((3, 3), np.bool_)
    assert fill_holes(np.stack([ring] * 3)).sum() == 24
    assert fill_holes(np.stack([lid, ring, lid])).sum() == 27
    assert fill_holes(ring[None]).sum() == 9
    apart = np.zeros((2, 3, 6), np.bool_)
    apart[0, 0, 0] = apart[1, 1, 1] = True  # one part, over a corner between slices
    apart[0, 2, 5] = True
    assert largest_component(apart).sum() == 2


@given(arrays(np.bool_, (2, 3, 5, 5), elements=BITS))
def test_exclusive_structures_stay_apart(masks: np.ndarray) -> None:
    first = np.cumsum(masks, axis=1) == 1
    masks &= first  # no two share a pixel
    found = MaskRule(exclusive=True, fill_holes=True).finish(masks)
    assert (found.sum(axis=1) <= 1).all()
    assert (found | ~masks).all()  # nobody loses a pixel by it
    free = MaskRule(fill_holes=True).finish(masks)
    np.testing.assert_array_equal(found.any(axis=1), free.any(axis=1))  # every hole is somebody's


def test_probabilities_are_refused() -> None:
    with pytest.raises(UserError, match="post-processing was asked of values of type float32: it changes masks"):
        MaskRule(fill_holes=True).finish(np.zeros((1, 1, 4, 4), np.float32))  # type: ignore[arg-type]


def test_whole_cases_from_batches_that_span_them() -> None:
    rows = np.arange(6)
    batches = [(["a", "a", "b"], (rows[:3],)), (["b", "b", "c"], (rows[3:],))]
    assert [(name, part.tolist()) for name, (part,) in by_case(batches)] == [
        ("a", [0, 1]),
        ("b", [2, 3, 4]),
        ("c", [5]),
    ]
    assert list(by_case([])) == []
