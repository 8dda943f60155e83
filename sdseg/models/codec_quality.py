"""How well one reproduces masks, and how large its latents are, measured on random shapes."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sdseg.core.errors import UserError
from sdseg.metrics import overlap
from sdseg.models.codec import MaskCodec
from sdseg.models.random_shapes import random_shapes

__all__ = ["draw_masks", "measure"]

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
    deviation = float(torch.cat(means).std())
    if not math.isfinite(deviation) or deviation == 0.0:
        raise UserError(
            f"the codec's latents have no scale: their standard deviation is {deviation:g}",
            remedy="a codec trained here: lower training.learning_rate; pretrained weights: check the file",
        )
    scale = 1.0 / deviation
    predicted, labelled = torch.cat(decoded).cpu().numpy(), masks.cpu().numpy() > 0.5
    scores = [overlap.dice(overlap.counts(predicted[i : i + 1], labelled[i : i + 1]))[0] for i in range(len(labelled))]
    return scale, float(np.mean(scores))


def draw_masks(rng: np.random.Generator, count: int, size: int, device: torch.device) -> Tensor:
    """Random shapes as float masks [N,1,H,W] in {0,1}."""
    return torch.from_numpy(random_shapes(rng, count, size)).to(device).unsqueeze(1).float()
