"""How well a codec reproduces masks, and how large its latents are: on random shapes, or on a dataset's own masks."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sdseg.core.array_types import MaskArray
from sdseg.core.errors import UserError
from sdseg.metrics import overlap
from sdseg.models.codec import MaskCodec
from sdseg.models.random_shapes import random_shapes

__all__ = ["draw_masks", "measure", "measure_images", "measure_on"]

HELD_OUT = 256  # shapes that measure the latent scale and the codec's ceiling; 32 of more than 64 pixels a side


@torch.inference_mode()
def measure(codec: MaskCodec, size: int, device: torch.device) -> tuple[float, float]:
    """1/std of the unscaled latents, and the mean Dice of decode(encode(mask)), over shapes no codec is trained on.

    `size` is their height and width in pixels. The codec's own scale is left as it was. Raises UserError for latents
    that have no scale: not finite, as of a training that went astray, or all the same.
    """
    masks = draw_masks(np.random.default_rng([1, 0]), HELD_OUT if size <= 64 else 32, size, device)
    before, codec.scale = codec.scale, 1.0
    means, decoded = [], []
    for part in torch.split(masks, 16 if size <= 64 else 2):
        mean, _ = codec.moments(part)
        means.append(mean)
        decoded.append(codec.decode(mean) > 0.5)
    codec.scale = before
    scale = _scale_of(torch.cat(means))
    predicted, labelled = torch.cat(decoded).cpu().numpy(), masks.cpu().numpy() > 0.5
    scores = [overlap.dice(overlap.counts(predicted[i : i + 1], labelled[i : i + 1]))[0] for i in range(len(labelled))]
    return scale, float(np.mean(scores))


@torch.inference_mode()
def measure_on(codec: MaskCodec, learnt: MaskArray, held_out: MaskArray, device: torch.device) -> tuple[float, float]:
    """The same, the scale over masks [N,K,H,W] that it was trained on, the Dice over others; raises as above.

    Dice counts the pixels of all label maps together: the mean over the structures, of which small ones would be a
    handful of pixels in each.
    """
    before, codec.scale = codec.scale, 1.0
    scale = _scale_of(torch.cat([codec.moments(part)[0] for part in _parts(codec, learnt, device)]))
    decoded = [codec.decode(codec.moments(part)[0]) > 0.5 for part in _parts(codec, held_out, device)]
    codec.scale = before
    predicted = torch.cat(decoded).cpu().numpy().reshape(held_out.shape)
    return scale, float(np.mean(overlap.dice(overlap.counts(predicted, held_out))))


@torch.inference_mode()
def measure_images(codec: MaskCodec, learnt: Tensor, held_out: Tensor, device: torch.device) -> tuple[float, float]:
    """Of a codec of images the scale, and the mean absolute error of what it decodes, of values from 0 to 1.

    Both are images [N,3,H,W] in [-1,1].
    """
    at_once = 16 if learnt.shape[-1] <= 64 else 2
    parts = [part.to(device) for part in torch.split(learnt, at_once)]
    scale = _scale_of(torch.cat([codec.autoencoder.encode(images).latent_dist.mean for images in parts]))
    error = 0.0
    for images in (part.to(device) for part in torch.split(held_out, at_once)):
        decoded = codec.autoencoder.decode(codec.autoencoder.encode(images).latent_dist.mean).sample
        error += float((decoded - images).abs().sum()) / 2.0
    return scale, error / held_out.numel()


def _parts(codec: MaskCodec, masks: MaskArray, device: torch.device) -> Iterator[Tensor]:
    """Masks as the codec takes them, [n,1,H,W] or [n,K,H,W], a few at a time."""
    flat = torch.from_numpy(masks.reshape(-1, codec.at_once, *masks.shape[-2:]))
    for part in torch.split(flat, 16 if masks.shape[-1] <= 64 else 2):
        yield part.to(device)


def _scale_of(latents: Tensor) -> float:
    """1/std. Raises UserError for latents that have none."""
    deviation = float(latents.std())
    if not math.isfinite(deviation) or deviation == 0.0:
        raise UserError(
            f"the codec's latents have no scale: their standard deviation is {deviation:g}",
            remedy="a codec trained here: lower training.learning_rate; pretrained weights: check the file",
        )
    return 1.0 / deviation


def draw_masks(rng: np.random.Generator, count: int, size: int, device: torch.device) -> Tensor:
    """Random shapes as float masks [N,1,H,W] in {0,1}."""
    return torch.from_numpy(random_shapes(rng, count, size)).to(device).unsqueeze(1).float()
