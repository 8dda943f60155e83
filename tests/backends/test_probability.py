"""What a backend computes: NaN is noticed, and the warm-up is not timed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from sdseg.backends.probability import TimedBackend, check_finite
from sdseg.core.array_types import FloatArray, RawImages
from sdseg.core.errors import UserError


class Slow:
    """A backend whose first call takes 5 s and each later one 0.5 s of a clock of its own."""

    name = "slow"

    def __init__(self, value: float = 0.5) -> None:
        self.value, self.now = value, 100.0

    def probability(self, images: RawImages) -> FloatArray:
        self.now += 5.0 if self.now == 100.0 else 0.5
        return np.full((len(images), 1, 4, 4), self.value, np.float32)


IMAGES = np.zeros((2, 4, 4, 3), np.uint8)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_no_probability_is_noticed(value: float) -> None:
    with pytest.raises(UserError, match=r"(?s)the model gives NaN or infinite probability.*where: +model\.onnx"):
        TimedBackend(Slow(value), Path("model.onnx")).probability(IMAGES)
    fine = np.zeros((1, 1, 4, 4), np.float32)
    assert check_finite(fine, Path("model.onnx")) is fine


def test_the_warm_up_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr(time, "perf_counter", lambda: slow.now)
    timed = TimedBackend(slow, Path("model.onnx"))
    assert timed.seconds_per_image == 0.0
    timed.warm_up(IMAGES)
    timed.probability(IMAGES)
    timed.probability(IMAGES[:1])
    assert timed.seconds_per_image == pytest.approx(1.0 / 3)
