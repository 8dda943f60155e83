"""Opened inputs through a model, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sdseg.backends.load import Served
from sdseg.core.errors import UserError
from sdseg.data.native import Native

__all__ = ["segment"]


def segment(
    served: Served, opened: Sequence[Native], batch: int, progress: Callable[[int, int], None] | None = None
) -> None:
    """Fill in what the model finds in some inputs; a batch of slices may span several of them.

    `progress` is told after each batch how many of all slices are done.
    Raises UserError where the model fails or gives NaN.
    """
    flat = [(found, index) for found in opened for index in range(len(found.images))]
    for start in range(0, len(flat), batch):
        part = flat[start : start + batch]
        # 1. The slices at the working size.
        images = np.stack([found.images[index] for found, index in part])  # [N,S,S,C]
        # 2. Probability of every structure.
        probability = served.backend.probability(images)  # [N,K,S,S]
        if not np.isfinite(probability).all():
            raise UserError("the model gives NaN or infinite probability", remedy="export or train it again in fp32")
        # 3. Back to the native size.
        for (found, index), own in zip(part, probability, strict=True):
            found.put(index, own, served.rule)
        if progress is not None:
            progress(start + len(part), len(flat))
