"""Augmentation in a fraction of a millisecond, by NumPy and OpenCV: intensities, and where wanted an affine map.

`strong` (sdseg/data/augmentation) does more, and at small sizes takes longer than the training step it feeds.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from sdseg.artifacts.image_contract import ImageContract
from sdseg.core.array_types import AnyArray, FloatArray

__all__ = ["QuickAugmentation"]

GAMMA = 0.35  # exponents from e^−0.35 to e^0.35
CONTRAST = 0.3  # factors from 0.7 to 1.3, about the image's mean
BRIGHTNESS = 0.12  # shares of the window
SATURATION = 0.4  # factors from 0.6 to 1.4, about each pixel's grey
CHANNEL = 0.1  # factors of each channel from 0.9 to 1.1
ROTATION = math.pi / 6
ZOOM = 0.25  # factors from e^−0.25 to e^0.25
SHIFT = 0.1  # shares of the image's size


class QuickAugmentation:
    """Contrast, brightness, gamma and (of colours) colour; with `affine`, rotation, zoom and shift as well.

    Named channels, each of a file of its own, change each by itself, and alike in all slices.

    Intensities are shares of the image's window, so that one preset serves RGB and CT. Each is drawn once per sample
    from its seed; the affine map is the same for image and masks, and what lies beyond the border is its last pixel.
    """

    def __init__(self, contract: ImageContract, *, affine: bool) -> None:
        self.contract, self.affine = contract, affine

    def __call__(
        self, image: AnyArray, masks: npt.NDArray[np.bool_], seed: int
    ) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Raw image [H,W,C] and masks [K,H,W] -> the same, changed; the image as float32 within the raw window."""
        rng = np.random.default_rng(seed)
        low, high = (np.float32(end) for end in self.contract.window)
        inside = (np.clip(image.astype(np.float32), low, high) - low) / (high - low)
        named = len(self.contract.channel_names)
        if named:
            parts = [_intensities(inside[..., number::named], rng, coloured=False) for number in range(named)]
            changed = np.stack(parts, axis=-1).reshape(inside.shape)  # slice by slice its channels, as they were
        else:
            changed = _intensities(inside, rng, coloured=self.contract.channels > 1)
        if self.affine:
            matrix = _affine_map(image.shape[0], image.shape[1], rng)
            changed = _warped(changed, matrix).reshape(changed.shape)
            masks = np.stack([_warped(mask.astype(np.float32), matrix) > 0.5 for mask in masks])
        return changed * (high - low) + low, masks


def _intensities(image: FloatArray, rng: np.random.Generator, *, coloured: bool) -> FloatArray:
    """An image [H,W,C] in [0,1], with other contrast, brightness and, if `coloured`, colour.

    Else the channels are slices that lie side by side.
    """
    gamma, contrast, brightness, saturation = rng.uniform(-1.0, 1.0, 4)
    channels = rng.uniform(-1.0, 1.0, image.shape[2])
    changed = np.power(image, np.float32(math.exp(GAMMA * gamma)))
    if coloured:
        grey = changed.mean(axis=2, keepdims=True)
        changed = grey + (changed - grey) * np.float32(1.0 + SATURATION * saturation)
        changed = changed * np.asarray(1.0 + CHANNEL * channels, dtype=np.float32)
    mean = changed.mean()
    changed = mean + (changed - mean) * np.float32(1.0 + CONTRAST * contrast) + np.float32(BRIGHTNESS * brightness)
    return np.asarray(np.clip(changed, 0.0, 1.0), dtype=np.float32)


def _affine_map(height: int, width: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """OpenCV's 2×3 matrix of a rotation and zoom about the centre, then a shift."""
    angle, zoom, right, down = rng.uniform(-1.0, 1.0, 4)
    centre = (width - 1) / 2, (height - 1) / 2
    matrix = cv2.getRotationMatrix2D(centre, math.degrees(ROTATION * angle), math.exp(ZOOM * zoom))
    shift = np.array([[0.0, 0.0, right], [0.0, 0.0, down]]) * SHIFT * np.array([[width], [height]])
    return np.asarray(matrix + shift, dtype=np.float64)


def _warped(image: FloatArray, matrix: npt.NDArray[np.float64]) -> FloatArray:
    height, width = image.shape[:2]
    warped = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, dtype=np.float32)
