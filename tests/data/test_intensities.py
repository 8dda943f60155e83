"""Values of volumes: kept as they are by the smallest type that can, and held against those of training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sdseg.core.array_types import AnyArray
from sdseg.data.intensities import Spread, intensities_of, spread_of, unlike
from sdseg.data.transforms import resize_images
from sdseg.io.number_types import alterations, as_type, kept_type, values_of


@pytest.mark.parametrize(
    ("values", "window", "expected"),
    [
        ([-1000, 3095], (-175, 250), "int16"),
        ([0.0, 255.0], (0, 255), "int16"),
        ([0, 40_000], (0, 40_000), "uint16"),
        ([-1, 40_000], (0, 40_000), "int32"),
        ([0, 3_000_000_000], (0, 1e9), "float32"),
        ([-1.35, 6.84], (-1.35, 6.84), "float16"),  # a z-scored MR
        ([0.25, 1.0], (0, 1), "float16"),
        ([0.5, 1.5, 70_000], (0, 2), "float32"),  # beyond the range of float16
        ([1000.5, 1000.75], (1000, 1001), "float32"),  # float16 counts by halves there
    ],
)
def test_the_type_that_keeps_the_values(values: list[float], window: tuple[float, float], expected: str) -> None:
    assert kept_type([values_of(np.array(values))], window) == expected


def test_one_type_keeps_all_volumes() -> None:
    volumes = [values_of(np.array(values)) for values in ([-5, 5], [0, 65_535], [0.5, 1.0])]
    assert kept_type(volumes[:1], (0, 1)) == "int16"
    assert kept_type(volumes[:2], (0, 1)) == "int32"
    assert kept_type(volumes, (0, 1)) == "float32"


@given(
    hnp.arrays(np.float32, 20, elements=st.floats(-(2.0**20), 2.0**20, width=32)),
    st.floats(-1000, 1000),
    st.floats(0.01, 5000),
)
def test_nothing_within_the_window_is_lost(values: AnyArray, low: float, width: float) -> None:
    window = (low, low + width)
    dtype = kept_type([values_of(values)], window)
    kept = as_type(values, dtype).astype(dtype).astype(np.float64)
    assert alterations(values_of(values), dtype) == []
    assert np.abs(np.clip(kept, *window) - np.clip(values.astype(np.float64), *window)).max() <= width / 2048


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "float32"])
def test_every_type_is_resized_alike(dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 30_000, (2, 40, 30, 1))
    shrunk = resize_images(values.astype(dtype), (16, 16))
    assert shrunk.dtype == np.dtype(dtype)
    np.testing.assert_allclose(shrunk.astype(np.float64), resize_images(values.astype(np.float64), (16, 16)), atol=1.01)


def test_percentiles_of_a_sample_are_those_of_all() -> None:
    values = np.random.default_rng(0).normal(100, 30, (3, 400, 500, 1)).astype(np.float32)
    for array in (values, values[::-1, ::-1].transpose(0, 2, 1, 3)):
        found = spread_of(array)
        assert (found.low, found.high) == (values.min(), values.max())
        np.testing.assert_allclose([found.p1, found.p50, found.p99], np.percentile(values, [1, 50, 99]), atol=2.0)
    gradient = np.broadcast_to(np.arange(512.0), (1, 512, 512))  # a stride that divides the rows would see few columns
    np.testing.assert_allclose(spread_of(np.ascontiguousarray(gradient)).p50, 255.5, atol=2)


SCANS = intensities_of([Spread(-1024, -1000, -50 + 10 * n, 300 + 20 * n, 1500) for n in range(5)])


@pytest.mark.parametrize(
    ("spread", "said"),
    [
        (Spread(-1024, -1000, -20, 350, 3000), None),
        (Spread(-200, -150, 40, 400, 900), None),  # cut to the body
        (Spread(0, 0, 12, 102, 102), "another scale"),
        (Spread(-1.35, -1.2, 0.1, 4.0, 6.84), "another scale"),
        (Spread(0, 24, 1000, 1400, 3000), "shifted"),
        (Spread(0, 0, 300, 60_000, 65_535), "another scale"),
        (Spread(7, 7, 7, 7, 7), "another scale"),
    ],
)
def test_an_input_clearly_outside_the_training_is_noted(spread: Spread, said: str | None) -> None:
    found = unlike(spread, SCANS)
    assert len(found) == (said is not None)
    assert said is None or said in found[0]
    assert unlike(spread, None) == []
    assert intensities_of([]) is None
