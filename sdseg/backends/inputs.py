"""What every runtime is fed with: raw images as the model's contract wants them, and the same noise everywhere."""

from __future__ import annotations

import numpy as np

from sdseg.artifacts.image_contract import ImageContract
from sdseg.core.array_types import AnyArray, FloatArray, RawImages
from sdseg.core.errors import UserError

__all__ = ["NoiseShape", "as_input", "check_images", "draw_noise"]

VOLUME_TYPES = ("int16", "uint16", "int32", "float16", "float32")  # raw values of a volume may come as any of these
NoiseShape = tuple[int, ...]  # (c,h,w), of patches (c,d,h,w)


def as_input(images: RawImages, image: ImageContract) -> AnyArray:
    """Images as every runtime is fed with them: uint8 for RGB, float32 for volumes; contiguous, [N,H,W,C]."""
    check_images(images, image)
    return np.require(images, dtype=np.uint8 if image.modality == "rgb" else np.float32, requirements=["C", "W"])


def check_images(images: RawImages, image: ImageContract) -> None:
    """Raise UserError unless `images` [N,H,W,C] have the contract's size, channels and type, and finite values."""
    wanted = (*image.sides, image.fed_channels)
    if images.ndim != 4 or images.shape[1:] != wanted or not len(images):
        raise UserError(
            f"images of shape {images.shape}; the model wants (N, {', '.join(map(str, wanted))}) with N ≥ 1",
            remedy="resize them to the working size first, channels last",
        )
    if image.modality == "rgb":
        if images.dtype != np.uint8:
            raise UserError(
                f"images of type {images.dtype}; the model wants uint8 values from 0 to 255",
                remedy="give RGB images of 8 bits, not normalised",
            )
        return
    if images.dtype not in VOLUME_TYPES:
        raise UserError(
            f"images of type {images.dtype}; the model wants the values of the volume as {', '.join(VOLUME_TYPES)}",
            remedy="give the raw values of the volume, no window applied",
        )
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise UserError("images with NaN or infinite values", remedy="repair the volume: every voxel needs a number")


def draw_noise(count: int, shape: NoiseShape, seed: int) -> FloatArray:
    """Standard normal noise [count,*shape] for a sampling model, the same on every backend.

    Every image gets the same draw, so that a result depends on the seed alone and not on the image's place in a batch.
    """
    noise = np.random.default_rng(seed).standard_normal((1, *shape), dtype=np.float32)
    return np.repeat(noise, count, axis=0)
