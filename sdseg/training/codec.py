"""Make the mask codec, either trained here on random shapes or taken from pretrained weights."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import l1_loss
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from sdseg.backends.device import torch_device
from sdseg.config.network import Codec, CodecTraining, made_from
from sdseg.core.errors import UserError
from sdseg.core.files import atomic_folder, make_folder
from sdseg.core.fingerprint import code_of
from sdseg.core.locks import writes
from sdseg.core.overwrite_checks import check_owned
from sdseg.core.provenance import provenance, source_of
from sdseg.core.signals import Stopped, deferred, ended
from sdseg.models.codec import MaskCodec, load_pretrained
from sdseg.models.codec_quality import draw_masks, measure
from sdseg.models.model_folder import OWNED, save_codec_folder
from sdseg.training.resume import settle
from sdseg.training.state import SavedObjects, latest_state, restore, save_state

__all__ = ["build_codec"]

log = logging.getLogger("sdseg.training.codec")
SAVE_EVERY = 120.0  # seconds


@writes("output")
def build_codec(*, settings: Codec, output: Path, device: str = "cpu") -> None:
    """Write a codec folder: codec.safetensors and config.json with the measured latent scale and ceiling.

    Training goes on where it was stopped: `<output>.state` beside it keeps what that needs until the folder is written.
    """
    target = torch_device(device)
    source_of("training.codec")
    try:
        made_from(settings)
    except ValueError as error:
        raise UserError(f"the codec is a layout alone: {error}", where="--settings", remedy="add one of them") from None
    check_owned(output, OWNED)
    make_folder(output.parent)
    started = time.perf_counter()
    torch.manual_seed(settings.training.seed if settings.training else 0)
    codec = MaskCodec(settings).to(target)
    state = output.with_name(f"{output.name}.state")
    if settings.training is not None:
        settle(state, {"codec": settings.model_dump(mode="json"), "code": dict(code_of("training.codec"))}, "restart")
        _train(codec, settings.training, target, state)
    elif settings.weights is not None:
        load_pretrained(codec, Path(settings.weights))
    codec.eval().requires_grad_(False)

    size = settings.training.size if settings.training else 256
    try:
        scale, ceiling = measure(codec, size, target)
    except UserError:  # of a training that went astray nothing is kept
        shutil.rmtree(state, ignore_errors=True)
        raise
    if settings.latent_scale != "measured":
        scale = float(settings.latent_scale)
    codec.scale = scale
    log.info(
        "latent scale %.4f, Dice of decode(encode(shape)) %.4f, %.0f s", scale, ceiling, time.perf_counter() - started
    )
    with atomic_folder(output, OWNED) as folder:
        save_codec_folder(folder, codec.cpu(), ceiling, provenance(("torch", "diffusers"), stage="training.codec"))
    shutil.rmtree(state, ignore_errors=True)


def _train(codec: MaskCodec, training: CodecTraining, device: torch.device, state: Path) -> None:
    """Minimise |decode(z) − mask| plus a little KL on shapes drawn anew at every step; go on where `state` says."""
    optimiser = torch.optim.AdamW(codec.parameters(), lr=training.learning_rate, weight_decay=0.0)
    schedule = OneCycleLR(optimiser, max_lr=training.learning_rate, total_steps=training.steps, pct_start=0.1)
    objects = SavedObjects(codec, None, optimiser, random=True)
    start = _continued(state, objects, schedule)
    codec.train()
    bar = tqdm(
        range(start, training.steps),
        desc="codec",
        unit="step",
        total=training.steps,
        initial=start,
        mininterval=1 if sys.stderr.isatty() else 15,
    )
    saved = time.monotonic()
    with bar, deferred() as request:
        for step in bar:
            loss = _loss(codec, training, step, device)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if step % 20 == 0:
                bar.set_postfix(loss=f"{loss.item():.4f}")
            done, signal_number = step + 1, request.number
            if done == training.steps or signal_number is not None or time.monotonic() - saved > SAVE_EVERY:
                save_state(state, done, _position(optimiser, schedule), objects)
                saved = time.monotonic()
            if signal_number is not None:
                raise Stopped(signal_number, ended(done, training.steps))


def _loss(codec: MaskCodec, training: CodecTraining, step: int, device: torch.device) -> Tensor:
    rng = np.random.default_rng([0, training.seed, step])
    masks = draw_masks(rng, training.batch, training.size, device)
    if training.crop is not None and step < 0.8 * training.steps:
        top, left = rng.integers(0, training.size - training.crop + 1, 2)
        masks = masks[..., top : top + training.crop, left : left + training.crop]
    images = masks * 2.0 - 1.0
    posterior = codec.autoencoder.encode(images.expand(-1, 3, -1, -1)).latent_dist
    decoded = codec.autoencoder.decode(posterior.sample()).sample
    loss: Tensor = l1_loss(decoded, images.expand_as(decoded)) + training.kl_weight * posterior.kl().mean()
    return loss


def _position(optimiser: torch.optim.Optimizer, schedule: OneCycleLR) -> dict[str, Any]:
    """Where the schedule stands, and what it has set in the optimiser."""
    group, schedule_state = optimiser.param_groups[0], schedule.state_dict()
    position = {name: schedule_state[name] for name in ("last_epoch", "_step_count", "_last_lr")}
    return {"schedule": position, "lr": float(group["lr"]), "betas": list(group["betas"])}


def _continued(state: Path, objects: SavedObjects, schedule: OneCycleLR) -> int:
    """The step to go on from, with everything as it was then; 0 for a new training."""
    latest = latest_state(state)
    if latest is None:
        return 0
    restore(latest, objects)
    schedule.load_state_dict(latest.progress["schedule"])
    objects.optimiser.param_groups[0].update(lr=latest.progress["lr"], betas=tuple(latest.progress["betas"]))
    log.info("continuing after step %d", latest.step)
    return latest.step
