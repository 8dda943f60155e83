"""Verb: make the mask codec, either trained here on random shapes or taken from pretrained weights."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import l1_loss
from tqdm import tqdm

from sdseg.artifacts import atomic_folder, make_folder
from sdseg.fidelity import draw_masks, measure
from sdseg.locks import writes
from sdseg.model.checkpoint import OWNED, save_codec_folder
from sdseg.model.codecs import MaskCodec, load_pretrained
from sdseg.networks import Codec, CodecTraining
from sdseg.ownership import check_owned
from sdseg.provenance import provenance, source_of
from sdseg.runtime.device import torch_device

__all__ = ["build_codec"]

log = logging.getLogger("sdseg.codec")


@writes("output")
def build_codec(*, settings: Codec, output: Path, device: str = "cpu") -> None:
    """Write a codec folder: codec.safetensors and config.json with the measured latent scale and ceiling."""
    target = torch_device(device)
    source_of("codec")
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
    scale, ceiling = measure(codec, size, target)
    if settings.latent_scale != "measured":
        scale = float(settings.latent_scale)
    codec.scale = scale
    log.info(
        "latent scale %.4f, Dice of decode(encode(shape)) %.4f, %.0f s", scale, ceiling, time.perf_counter() - started
    )
    with atomic_folder(output, OWNED) as folder:
        save_codec_folder(folder, codec.cpu(), ceiling, provenance(("torch", "diffusers"), stage="codec"))


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
            masks = draw_masks(rng, training.batch, training.size, device)
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
