"""Shape aliases and value ranges used in every annotation of the package."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["AnyArray", "FloatArray", "LabelArray", "MaskArray", "RawImages"]

# Raw images as stored and as fed to a model: [N,H,W,C], uint8 0…255 (RGB, C = 3), or values of a volume (C = 1): int16
# HU of CT, or the type that keeps them.
RawImages: TypeAlias = npt.NDArray[Any]
# Label ids as stored: [N,H,W] uint8; 0 is background.
LabelArray: TypeAlias = npt.NDArray[np.uint8]
# Binary masks, one channel per structure: [N,K,H,W] or [K,H,W] bool.
MaskArray: TypeAlias = npt.NDArray[np.bool_]
FloatArray: TypeAlias = npt.NDArray[np.float32]
AnyArray: TypeAlias = npt.NDArray[Any]
