"""Verb: make the mask codec, either trained here on random shapes or taken from pretrained weights."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import l1_loss
from tqdm import tqdm

from sdseg import metrics
from sdseg.artifacts import atomic_folder, check_owned, make_folder, provenance
from sdseg.data.shapes import random_shapes
from sdseg.model.checkpoint import OWNED, save_codec_folder
from sdseg.model.codecs import MaskCodec, load_pretrained
from sdseg.networks import Codec, CodecTraining
from sdseg.runtime.device import torch_device

__all__ = ["build_codec"]

log = logging.getLogger("sdseg.codec")
HELD_OUT = 256  # shapes that measure the latent scale and the codec's ceiling


def build_codec(*, settings: Codec, output: Path, device: str = "cpu") -> None:
    """Write a codec folder: codec.safetensors and config.json with the measured latent scale and ceiling."""
    target = torch_device(device)
    check_owned(output, OWNED)
    make_folder(output.parent)
    started = time.perf_counter()
    torch.manual_seed(settings.training.seed if settings.training else 0)
    codec = MaskCodec(settings).to(target)
    if settings.training is not None:
        _train(codec, settings.training, target)
    elif settings.weights is not None:
        load_pretrained(codec, Path(settings.weights))
    codec.eval().requires_grad_(False)

    size = settings.training.size if settings.training else 256
    masks = _draw(np.random.default_rng([1, 0]), HELD_OUT if size <= 64 else 32, size, target)
    scale, ceiling = _measure(codec, masks)
    if settings.latent_scale != "measured":
        scale = float(settings.latent_scale)
    codec.scale = scale
    log.info(
        "latent scale %.4f, Dice of decode(encode(shape)) %.4f, %.0f s", scale, ceiling, time.perf_counter() - started
    )
    with atomic_folder(output, OWNED) as folder:
        save_codec_folder(folder, codec.cpu(), ceiling, provenance(("torch", "diffusers")))


def _train(codec: MaskCodec, training: CodecTraining, device: torch.device) -> None:
    """Minimise |decode(z) − mask| plus a little KL on shapes drawn anew at every step."""
    optimiser = torch.optim.AdamW(codec.parameters(), lr=training.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=training.learning_rate, total_steps=training.steps, pct_start=0.1
    )
    codec.train()
    with tqdm(range(training.steps), desc="codec", unit="step", mininterval=1 if sys.stderr.isatty() else 15) as bar:
        for step in bar:
            rng = np.random.default_rng([0, training.seed, step])
            masks = _draw(rng, training.batch, training.size, device)
            if training.crop is not None and step < 0.8 * training.steps:
                top, left = rng.integers(0, training.size - training.crop + 1, 2)
                masks = masks[..., top : top + training.crop, left : left + training.crop]
            images = masks * 2.0 - 1.0
            posterior = codec.autoencoder.encode(images.expand(-1, 3, -1, -1)).latent_dist
            decoded = codec.autoencoder.decode(posterior.sample()).sample
            loss = l1_loss(decoded, images.expand_as(decoded)) + training.kl_weight * posterior.kl().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if step % 20 == 0:
                bar.set_postfix(loss=f"{loss.item():.4f}")


@torch.inference_mode()
def _measure(codec: MaskCodec, masks: Tensor) -> tuple[float, float]:
    """1/std of the latents, and the mean Dice of decode(encode(mask)), over masks [N,1,H,W]."""
    codec.scale = 1.0
    means, decoded = [], []
    for part in torch.split(masks, 16):
        mean, _ = codec.moments(part)
        means.append(mean)
        decoded.append(codec.decode(mean) > 0.5)
    scale = 1.0 / float(torch.cat(means).std())
    predicted, labelled = torch.cat(decoded).cpu().numpy(), masks.cpu().numpy() > 0.5
    scores = [metrics.dice(metrics.counts(predicted[i : i + 1], labelled[i : i + 1]))[0] for i in range(len(labelled))]
    return scale, float(np.mean(scores))


def _draw(rng: np.random.Generator, count: int, size: int, device: torch.device) -> Tensor:
    """Random shapes as float masks [N,1,H,W] in {0,1}."""
    return torch.from_numpy(random_shapes(rng, count, size)).to(device).unsqueeze(1).float()
