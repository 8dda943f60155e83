"""A whole volume from patches: the one window that every backend of a three-dimensional model looks through."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from sdseg.config.patches import SlidingWindow
from sdseg.core.array_types import AnyArray, FloatArray
from sdseg.core.extras import needing

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["over_patches"]

AT_ONCE = 1  # patches: one fills a device, and memory shall not depend on the volume


def over_patches(
    compute: Callable[[FloatArray], FloatArray], volume: AnyArray, window: SlidingWindow, outside: float
) -> FloatArray:
    """What `compute` finds in the patches of a volume, blended.

    Parameters
    ----------
    compute: raw patches [n,d,h,w,C], float32 -> [n,…,d,h,w].
    volume: raw values [Z,H,W,C]; where it is smaller than a patch it is padded with `outside` on both sides.
    window: size, overlap and blending of the patches.

    Returns [Z,…,H,W], float32.
    """
    with needing("a model that computes volumes by patches or large images by tiles"):
        import torch
        from monai.inferers.utils import sliding_window_inference  # MONAI takes seconds to import

    leading: list[int] = []

    def predictor(patches: Tensor) -> Tensor:
        answer = compute(np.ascontiguousarray(patches.permute(0, 2, 3, 4, 1).numpy()))
        leading[:] = answer.shape[1:-3]
        return torch.from_numpy(np.ascontiguousarray(answer)).flatten(1, -4)

    channels_first = torch.from_numpy(np.ascontiguousarray(np.moveaxis(volume, -1, 0), dtype=np.float32))[None]
    blended = sliding_window_inference(
        channels_first,
        roi_size=window.size,
        sw_batch_size=AT_ONCE,
        predictor=predictor,
        overlap=window.overlap,
        mode=window.blending,
        cval=outside,
    )
    if not isinstance(blended, torch.Tensor):
        raise TypeError(f"expected a tensor, got {type(blended).__name__}")
    whole = blended[0].numpy()  # [L,Z,H,W]
    return np.moveaxis(whole.reshape(*leading, *whole.shape[1:]), -3, 0)
