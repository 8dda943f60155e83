"""Sums of two products of bytes fit into 16 bits, and no weight is further from its value than half a step."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdseg.export.weight_steps import LARGEST_PAIR, channel_axes, weight_steps

WEIGHTS = st.floats(-4, 4, width=32)


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 3)).flatmap(
        lambda shape: arrays(np.float32, shape, elements=WEIGHTS)
    )
)
def test_pairs_fit(weights: np.ndarray) -> None:
    steps = weight_steps(weights, inputs=1, outputs=0)
    assert steps.dtype == np.float32
    assert (steps > 0).all()
    stored = np.rint(weights / steps[:, None, None])
    assert np.abs(stored).max() < LARGEST_PAIR
    assert np.abs(stored * steps[:, None, None] - weights).max(initial=0) <= 0.5001 * steps.max()
    count = weights.shape[1]
    for channel in np.abs(stored):
        if count % 2:
            assert 2 * channel.max() <= LARGEST_PAIR
        for first in range(0, count - count % 2, 2):
            assert (channel[first] + channel[first + 1]).max() <= LARGEST_PAIR
    assert np.iinfo(np.int16).max >= 255 * LARGEST_PAIR


def test_no_coarser_than_it_has_to_be() -> None:
    """By hand: 1 and 0.27 beside each other are 100 and 27; a weight that is alone in its pair has the whole byte."""
    weights = np.array([[1, 0.27, 0.5, 0], [0, 0, 0, 3], [0, 0, 0, 0]], np.float32)
    steps = weight_steps(weights, inputs=1, outputs=0)
    np.testing.assert_allclose(steps, [0.01, 3 / 127, 1], rtol=1e-6)
    assert np.rint(weights / steps[:, None]).tolist() == [[100, 27, 50, 0], [0, 0, 0, 127], [0, 0, 0, 0]]
    np.testing.assert_array_equal(weight_steps(weights.T.copy(), inputs=0, outputs=1), steps)
    odd = weight_steps(weights[:, :3], inputs=1, outputs=0)
    np.testing.assert_allclose(odd, [2 / 127, 1, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("operator", "more", "rank", "expected"),
    [
        ("Conv", {"kernel_shape": [3, 3]}, 4, (1, 0)),
        ("MatMul", {}, 2, (0, 1)),
        ("MatMul", {}, 3, (1, 2)),
        ("Gemm", {"transB": 1}, 2, (1, 0)),
        ("Gemm", {"transB": 0}, 2, (0, 1)),
        ("Gemm", {}, 2, (0, 1)),
    ],
)
def test_axes(operator: str, more: dict[str, object], rank: int, expected: tuple[int, int]) -> None:
    node = onnx.helper.make_node(operator, ["x", "w"], ["y"], **more)
    assert channel_axes(node, rank) == expected
