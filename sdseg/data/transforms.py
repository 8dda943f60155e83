"""Resizing and windowing of slices, each with its inverse beside it.

Images and masks are stretched to the working size; their side ratio comes back with the inverse.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import AnyArray, FloatArray, RawImages

__all__ = [
    "resize_images",
    "resize_labels",
    "restore_probability",
    "stretch",
    "to_display",
    "within_type",
]

MOST_CHANNELS = 4  # that OpenCV averages at a time


def stretch(voxels: AnyArray, window: tuple[float, float]) -> AnyArray:
    """A whole volume clipped to `window`, then spread linearly so that it spans it; same shape and type.

    What the official code does to test volumes. One that reaches both ends already, as any scan with air and bone
    does, comes back as it is: the window itself clips it. One of a single value within the window is left alone.
    """
    low, high = (min(max(float(end), window[0]), window[1]) for end in (voxels.min(), voxels.max()))
    if (low, high) == window or low == high:
        return voxels
    spread = (np.clip(voxels, *window).astype(np.float32) - low) * ((window[1] - window[0]) / (high - low)) + window[0]
    return np.asarray((np.rint(spread) if voxels.dtype.kind in "iu" else spread).astype(voxels.dtype))


def resize_images(images: RawImages, size: tuple[int, int]) -> RawImages:
    """Raw images [N,H,W,C] at `size` (rows, columns), same type: bilinear.

    Beyond half the size bilinear passes pixels by, and fine texture would alias: such an axis is brought to twice the
    size first, by averaging what falls together.
    """
    _, height, width, _ = images.shape
    if (height, width) == size:
        return images
    twice = (min(height, 2 * size[0]), min(width, 2 * size[1]))
    if twice == (2 * size[0], 2 * size[1]):  # the average of all that falls into a pixel: one step gives the same
        return _resize(images, size, cv2.INTER_AREA)
    return _resize(
        _resize(images, twice, cv2.INTER_AREA) if twice != (height, width) else images, size, cv2.INTER_LINEAR
    )


def resize_labels(labels: AnyArray, size: tuple[int, int]) -> AnyArray:
    """Label ids [N,H,W] at `size` (rows, columns): nearest pixel by centre, so no new label can appear."""
    return labels if labels.shape[1:3] == size else _resize(labels, size, cv2.INTER_NEAREST_EXACT)


def restore_probability(probability: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Probabilities [N,h,w] or [N,K,h,w] back at the native `size` (rows, columns), bilinear.

    Threshold afterwards: the outline is then smoother than that of a mask enlarged by whole pixels.
    """
    flat = probability.reshape(-1, *probability.shape[-2:])
    restored = flat if flat.shape[1:] == size else _resize(flat, size, cv2.INTER_LINEAR)
    return np.asarray(restored.reshape(*probability.shape[:-2], *size), dtype=np.float32)


def to_display(image: RawImages, window: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """One raw image [H,W,C] as RGB [H,W,3] uint8; the window's two values become 0 and 255, others are clipped."""
    if image.dtype == np.uint8 and window == (0.0, 255.0):
        return np.array(np.broadcast_to(image, (*image.shape[:2], 3)))
    low, high = window
    scaled = (image.astype(np.float32) - low) * np.float32(255.0 / (high - low))
    pixels = np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def within_type(value: float, dtype: npt.DTypeLike) -> float:
    """A value to fill up with, or the nearest one that a number type has: cast as it is, it would wrap around."""
    kept = np.dtype(dtype)
    if kept.kind not in "iuf":
        return value
    ends = np.iinfo(kept) if kept.kind in "iu" else np.finfo(kept)
    return min(max(value, float(ends.min)), float(ends.max))


def _resize(images: AnyArray, size: tuple[int, int], how: int) -> AnyArray:
    """Each image of [N,H,W] or [N,H,W,C] resized by OpenCV, which takes one at a time."""
    if images.ndim == 4 and images.shape[3] > MOST_CHANNELS:
        starts = range(0, images.shape[3], MOST_CHANNELS)
        return np.concatenate([_resize(images[..., at : at + MOST_CHANNELS], size, how) for at in starts], axis=3)
    rows, columns = size
    resized = np.empty((len(images), rows, columns, *images.shape[3:]), dtype=images.dtype)
    computed = np.float64 if images.dtype == np.int32 else images.dtype  # OpenCV resizes no 32-bit integers
    for image, target in zip(images, resized, strict=True):
        pixels = cv2.resize(np.ascontiguousarray(image, dtype=computed), (columns, rows), interpolation=how)
        target[...] = (pixels if pixels.dtype == resized.dtype else np.rint(pixels)).reshape(target.shape)
        # (OpenCV drops a channel axis of length 1.)
    return resized
