"""What a backend computes: checked for NaN, and with a clock around the computation."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sdseg.backends.base import Backend, OneAtATime, hypotheses_of, window_of
from sdseg.config.patches import SlidingWindow
from sdseg.core.array_types import FloatArray, RawImages
from sdseg.core.errors import UserError

__all__ = ["TimedBackend", "check_finite"]


def check_finite(probability: FloatArray, model: Path) -> FloatArray:
    """The same array. Raises UserError where a value is NaN or infinite: nothing made from it would mean anything."""
    if not np.isfinite(probability).all():
        raise UserError(
            "the model gives NaN or infinite probability",
            where=model,
            remedy="train again with a smaller learning rate or without mixed precision, or export in fp32",
        )
    return probability


class TimedBackend:
    """A backend of the model at a path, its seconds added up and what comes out checked."""

    def __init__(self, backend: Backend, model: Path) -> None:
        self._backend, self._model = backend, model
        self._seconds, self._images = 0.0, 0

    @property
    def name(self) -> str:
        return self._backend.name

    @property
    def sliding_window(self) -> SlidingWindow | None:
        """Through which the backend sees volumes; None: it computes slices."""
        return window_of(self._backend)

    @property
    def one_at_a_time(self) -> bool:
        """Whether it takes images whole, each at a size of its own."""
        return isinstance(self._backend, OneAtATime) and self._backend.one_at_a_time

    def warm_up(self, images: RawImages) -> None:
        """Compute once unmeasured: the first call allocates and compiles."""
        self._backend.probability(images)

    def probability(self, images: RawImages) -> FloatArray:
        """As of the backend. Raises UserError where a value is NaN or infinite."""
        return self._timed(self._backend.probability, images)  # [N,K,H,W]

    @property
    def hypotheses(self) -> Callable[[RawImages], FloatArray] | None:
        """What gives the hypotheses [N,S,K,H,W], timed and checked alike; None where the backend gives none."""
        own = hypotheses_of(self._backend)
        return None if own is None else lambda images: self._timed(own, images)

    def _timed(self, compute: Callable[[RawImages], FloatArray], images: RawImages) -> FloatArray:
        started = time.perf_counter()
        answer = compute(images)
        self._seconds += time.perf_counter() - started
        self._images += len(images)
        return check_finite(answer, self._model)

    @property
    def seconds_per_image(self) -> float:
        """The mean over all images so far; 0 before the first."""
        return self._seconds / max(self._images, 1)
