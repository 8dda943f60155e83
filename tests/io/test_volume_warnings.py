"""What is said of values and grids that are unlikely, and of what is meant nothing."""

from __future__ import annotations

import numpy as np
import pytest

from sdseg.core.array_types import AnyArray
from sdseg.io.volume_warnings import odd_values, unlikely_spacing
from tests.helpers import tiny

CT = tiny.CT.window


@pytest.mark.parametrize(
    ("values", "window", "told"),
    [
        (np.array([-1000, 300], np.int16), CT, ""),
        (np.array([-1000, 300], np.float32), CT, ""),
        (np.array([0, 255], np.uint8), CT, "8 bits a voxel, values from 0 to 255"),
        (np.array([0, 255], np.uint8), (0.0, 255.0), ""),
        (np.array([0, 40000], np.uint16), CT, "values from 0 to 4e+04: beyond the 16 bits"),
        (np.array([0, 40000], np.uint16), (0.0, 50000.0), ""),
        (np.array([-1e30, 0], np.float32), None, "values from -1e+30 to 0"),
        (np.zeros(0, np.float32), CT, ""),
    ],
)
def test_unlikely_values(values: AnyArray, window: tuple[float, float] | None, told: str) -> None:
    expected = None if window is None else tiny.CT.model_copy(update={"window": window})
    notes = odd_values(values, expected)
    assert len(notes) == bool(told)
    assert all(note.startswith(told) for note in notes)
    assert odd_values(values, tiny.CT.model_copy(update={"modality": "mr"})) == ()  # there any scale is as good


def test_unlikely_spacings() -> None:
    assert not unlikely_spacing((0.7, 0.7, 5.0))
    for odd in (0.001, 1e6, float("nan")):
        assert unlikely_spacing((0.7, odd, 5.0))
