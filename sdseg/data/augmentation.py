"""Stronger paired augmentation by MONAI: drawn once per sample from its seed, applied to image and masks alike."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import (
    RandAdjustContrastd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from monai.transforms.spatial.dictionary import Rand2DElasticd, RandAffined, RandFlipd

from sdseg.artifacts.manifests import ImageContract
from sdseg.core.array_types import AnyArray, FloatArray

__all__ = ["StrongAugmentation"]

BOTH = ("image", "masks")
MODES = ("bilinear", "nearest")  # a mask keeps its two values


class StrongAugmentation:
    """Flips, affine and elastic deformation of image and masks; contrast, brightness, blur and noise of the image.

    Lengths are shares of the image's size, intensities shares of its window, so that one preset serves RGB and CT.
    """

    def __init__(self, contract: ImageContract) -> None:
        self.contract = contract
        size = contract.size
        self._transform = Compose(
            [
                RandFlipd(BOTH, prob=0.5, spatial_axis=0),
                RandFlipd(BOTH, prob=0.5, spatial_axis=1),
                RandAffined(
                    BOTH,
                    prob=0.8,
                    rotate_range=math.pi / 6,
                    shear_range=0.1,
                    translate_range=0.08 * size,
                    scale_range=0.15,
                    mode=MODES,
                    padding_mode="border",
                ),
                Rand2DElasticd(
                    BOTH,
                    prob=0.3,
                    spacing=(size / 4, size / 4),
                    magnitude_range=(0.0, size / 32),
                    mode=MODES,
                    padding_mode="border",
                ),
                RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5)),
                RandScaleIntensityd("image", prob=0.3, factors=0.2),
                RandShiftIntensityd("image", prob=0.3, offsets=0.1),
                RandGaussianSmoothd("image", prob=0.2, sigma_x=(0.25, 1.0), sigma_y=(0.25, 1.0)),
                RandGaussianNoised("image", prob=0.3, std=0.05),
            ]
        )

    def __call__(
        self, image: AnyArray, masks: npt.NDArray[np.bool_], seed: int
    ) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Raw image [H,W,C] and masks [K,H,W] -> the same, deformed; the image as float32 within the raw window."""
        low, high = self.contract.window
        inside = (np.clip(image.astype(np.float32), low, high) - np.float32(low)) / np.float32(high - low)
        self._transform.set_random_state(seed=seed)
        transformed = self._transform({"image": inside.transpose(2, 0, 1), "masks": masks.astype(np.float32)})
        changed = np.asarray(transformed["image"], dtype=np.float32).clip(0.0, 1.0)  # [C,H,W]
        return changed.transpose(1, 2, 0) * np.float32(high - low) + np.float32(low), np.asarray(
            transformed["masks"]
        ) > 0.5
