"""Stronger paired augmentation by MONAI: drawn once per sample from its seed, applied to image and masks alike."""

from __future__ import annotations

import math
from typing import Any

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
from monai.transforms.transform import Transform

from sdseg.artifacts.image_contract import ImageContract
from sdseg.config.patches import Extent
from sdseg.core.array_types import AnyArray, FloatArray

__all__ = ["StrongAugmentation"]

BOTH = ("image", "masks")
BLUR, SHARP = (0.25, 1.0), (0.25, 0.25)  # pixels, of a Gaussian; SHARP leaves what it meets as it is
MODES = ("bilinear", "nearest")  # a mask keeps its two values


class StrongAugmentation:
    """Flips, affine and elastic deformation of image and masks; contrast, brightness, blur and noise of the image.

    Lengths are shares of the image's size, intensities shares of its window, so that one preset serves RGB and CT.
    Named channels, each of a file of its own, are deformed alike and change in intensity each by itself. A `patch` of
    volumes is flipped along all three axes, and turned, moved and enlarged within its slices.
    """

    def __init__(self, contract: ImageContract, patch: Extent | None = None) -> None:
        self.contract = contract
        self._channels = [f"image_{number}" for number in range(len(contract.channel_names))]
        spatial = _of_slices(*contract.sides) if patch is None else _of_patches(patch)
        first = BLUR if patch is None else SHARP  # of a patch that is the depth
        self._transform = Compose(
            [
                *spatial,
                self._apart,
                *(one for key in self._channels or ["image"] for one in _of_intensities(key, first)),
            ]
        )

    def __call__(
        self, image: AnyArray, masks: npt.NDArray[np.bool_], seed: int
    ) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Raw image [H,W,C] and masks [K,H,W] -> the same, deformed; the image as float32 within the raw window.

        Of a patch [D,H,W,C] and [K,D,H,W].
        """
        low, high = self.contract.window
        inside = (np.clip(image.astype(np.float32), low, high) - np.float32(low)) / np.float32(high - low)
        self._transform.set_random_state(seed=seed)
        transformed = self._transform({"image": np.moveaxis(inside, -1, 0), "masks": masks.astype(np.float32)})
        if self._channels:
            apart = np.stack([np.asarray(transformed[key]) for key in self._channels], axis=1)  # [2k+1,C,H,W]
            transformed["image"] = apart.reshape(-1, *apart.shape[2:])
        changed = np.asarray(transformed["image"], dtype=np.float32).clip(0.0, 1.0)  # [C,H,W]
        return np.moveaxis(changed, 0, -1) * np.float32(high - low) + np.float32(low), np.asarray(
            transformed["masks"]
        ) > 0.5

    def _apart(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Of named channels each under a key of its own, with all its slices."""
        count = len(self._channels)
        return sample | {key: sample["image"][number::count] for number, key in enumerate(self._channels)}


def _of_intensities(key: str, first: tuple[float, float]) -> list[Transform]:
    """`first`: blur along the first axis."""
    return [
        RandAdjustContrastd(key, prob=0.3, gamma=(0.7, 1.5)),
        RandScaleIntensityd(key, prob=0.3, factors=0.2),
        RandShiftIntensityd(key, prob=0.3, offsets=0.1),
        RandGaussianSmoothd(key, prob=0.2, sigma_x=first, sigma_y=BLUR, sigma_z=BLUR),
        RandGaussianNoised(key, prob=0.3, std=0.05),
    ]


def _of_slices(height: int, width: int) -> list[Transform]:
    return [
        RandFlipd(BOTH, prob=0.5, spatial_axis=0),
        RandFlipd(BOTH, prob=0.5, spatial_axis=1),
        RandAffined(
            BOTH,
            prob=0.8,
            rotate_range=math.pi / 6,
            shear_range=0.1,
            translate_range=0.08 * height,
            scale_range=0.15,
            mode=MODES,
            padding_mode="border",
        ),
        Rand2DElasticd(
            BOTH,
            prob=0.3,
            spacing=(height / 4, width / 4),
            magnitude_range=(0.0, min(height, width) / 32),
            mode=MODES,
            padding_mode="border",
        ),
    ]


def _of_patches(patch: Extent) -> list[Transform]:
    """Within the slices: their distance is another than that of pixels."""
    _, height, width = patch
    affine = RandAffined(
        BOTH,
        prob=0.8,
        rotate_range=(math.pi / 6, 0.0, 0.0),  # about the axis of depth
        translate_range=(0.0, 0.08 * height, 0.08 * width),
        scale_range=(0.0, 0.15, 0.15),
        mode=MODES,
        padding_mode="border",
    )
    return [*(RandFlipd(BOTH, prob=0.5, spatial_axis=axis) for axis in range(3)), affine]
