"""Make a codec: trained here, on random shapes or on a prepared dataset, or taken from pretrained weights."""

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
from torch.nn.functional import l1_loss, mse_loss
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from sdseg.backends.device import torch_device
from sdseg.config.codec import Codec, CodecTraining, made_from
from sdseg.core.errors import UserError
from sdseg.core.files import atomic_folder, make_folder
from sdseg.core.fingerprint import code_of
from sdseg.core.locks import writes
from sdseg.core.overwrite_checks import check_owned
from sdseg.core.provenance import provenance, source_of
from sdseg.core.signals import Stopped, deferred, ended
from sdseg.data.store import SliceStore
from sdseg.models.codec import MaskCodec, load_inner, load_pretrained
from sdseg.models.codec_quality import draw_masks, measure, measure_images, measure_on
from sdseg.models.losses import class_loss
from sdseg.models.model_folder import OWNED, save_codec_folder
from sdseg.models.segmenter import own_masks
from sdseg.training.codec_samples import CodecSamples
from sdseg.training.number_format import settled
from sdseg.training.resume import settle
from sdseg.training.state import SavedObjects, latest_state, restore, save_state

__all__ = ["build_codec"]

log = logging.getLogger("sdseg.training.codec")
SAVE_EVERY = 120.0  # seconds


@writes("output")
def build_codec(*, settings: Codec, output: Path, device: str = "cpu", prepared: Path | None = None) -> None:
    """Write a codec folder: codec.safetensors and config.json with the measured latent scale and ceiling.

    `prepared` is the dataset that settings with `data: dataset` learn from. Training goes on where it was stopped:
    `<output>.state` beside it keeps what that needs until the folder is written. Raises UserError where a dataset is
    missing, or given for nothing.
    """
    target = torch_device(device)
    source_of("training.codec")
    try:
        made_from(settings)
    except ValueError as error:
        raise UserError(str(error), where="--settings", remedy="give the codec what is named above") from None
    store = _opened(settings, prepared)
    settings = _as_pretrained(settings, store)
    training = settings.training
    samples = CodecSamples(store, settings.encodes, training) if store is not None and training is not None else None
    check_owned(output, OWNED)
    make_folder(output.parent)
    started = time.perf_counter()
    torch.manual_seed(training.seed if training else 0)
    codec = MaskCodec(settings, classes=samples.classes if samples and settings.encodes == "labels" else None)
    if settings.weights is not None:
        load = load_pretrained if training is None else load_inner
        load(codec, Path(settings.weights))
    codec = codec.to(target)
    state = output.with_name(f"{output.name}.state")
    if training is not None:
        made_of = {"codec": settings.model_dump(mode="json"), "code": dict(code_of("training.codec"))}
        settle(state, made_of | ({"data": store.manifest.data_checksum} if store is not None else {}), "restart")
        _train(codec, training, target, state, samples)
    codec.eval().requires_grad_(False)

    try:
        scale, ceiling = _measured(codec, samples, target)
    except UserError:  # of a training that went astray nothing is kept
        shutil.rmtree(state, ignore_errors=True)
        raise
    if settings.latent_scale != "measured":
        scale = float(settings.latent_scale)
    codec.scale = scale
    log.info(
        "latent scale %.4f, %s %s, %.0f s",
        scale,
        "error of decode(encode(image))" if settings.encodes == "image" else "Dice of decode(encode(mask))",
        "not measured" if ceiling is None else f"{ceiling:.4f}",
        time.perf_counter() - started,
    )
    with atomic_folder(output, OWNED) as folder:
        origin = provenance(("torch", "diffusers"), stage="training.codec")
        more = _of_dataset(samples)
        if settings.encodes == "image":
            ceiling, more = None, more | {"image_error": ceiling}
        save_codec_folder(folder, codec.cpu(), ceiling, origin, more)
    shutil.rmtree(state, ignore_errors=True)


def _opened(settings: Codec, prepared: Path | None) -> SliceStore | None:
    """The dataset that the codec learns from, or None. Raises UserError unless it is wanted and named, or neither."""
    if settings.of_dataset and prepared is None:
        raise UserError(
            "this codec is trained on a dataset ('data: dataset')",
            where="--prepared",
            remedy="name a folder made by 'sdseg prepare'; each dataset has a codec of its own",
        )
    if prepared is None:
        return None
    if not settings.of_dataset:
        raise UserError(
            "this codec learns nothing from a dataset", where=f"--prepared {prepared}", remedy="leave it out"
        )
    return SliceStore.open(prepared, verify=True)


def _as_pretrained(settings: Codec, store: SliceStore | None) -> Codec:
    """The settings; of a label map with one structure those of its mask, for which there are weights already."""
    one = store is not None and len(store.manifest.structures) == 1
    if not (one and settings.encodes == "labels" and settings.weights is not None):
        return settings
    log.info("one structure: its label map is its mask, and the pretrained codec of masks is taken as it is")
    return settings.model_copy(update={"encodes": "mask", "training": None})


def _measured(codec: MaskCodec, samples: CodecSamples | None, device: torch.device) -> tuple[float, float | None]:
    """The scale of the latents, and the Dice, or of images the error, of what comes back of them."""
    training = codec.settings.training
    if samples is None and codec.settings.encodes == "image":
        return 1.0, None  # nothing to measure on: the settings say its scale
    if samples is None:
        return measure(codec, training.size if training else 256, device)
    if codec.settings.encodes == "image":
        return measure_images(codec, samples.images("train"), samples.images(samples.held_out), device)
    return measure_on(codec, samples.measured("train"), samples.measured(samples.held_out), device)


def _of_dataset(samples: CodecSamples | None) -> dict[str, Any]:
    if samples is None:
        return {}
    manifest = samples.store.manifest
    return {
        "dataset": manifest.dataset,
        "split": samples.held_out,
        "structures": manifest.structures if samples.encodes == "labels" else None,
        "data_checksum": manifest.data_checksum,
    }


def _train(
    codec: MaskCodec, training: CodecTraining, device: torch.device, state: Path, samples: CodecSamples | None
) -> None:
    """Minimise the error of decode(z) plus a little KL on masks drawn anew at every step; go on where `state` says.

    The error of a mask, or an image, is its `distance` from decode(z), that of a label map cross entropy, with Dice
    where wanted.
    """
    weights = samples.class_weights() if samples is not None else None
    weights = weights.to(device) if weights is not None else None
    fused = device.type == "cpu"  # one pass over the weights, not ten
    optimiser = torch.optim.AdamW(codec.parameters(), lr=training.learning_rate, weight_decay=0.0, fused=fused)
    rise = 0.2 if training.steps == 10 else 0.1  # of the steps: one that ends with the first is a division by zero
    schedule = OneCycleLR(optimiser, max_lr=training.learning_rate, total_steps=training.steps, pct_start=rise)
    objects = SavedObjects(codec, None, optimiser, random=True)
    start, begun = _continued(state, objects, schedule)
    precision = settled(training.precision, device.type, begun)
    bf16 = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
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
            image = _image(codec, training, step, device, samples)
            with bf16:
                loss = _loss(codec, training, image, weights)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if step % 20 == 0:
                bar.set_postfix(loss=f"{loss.item():.4f}")
            done, signal_number = step + 1, request.number
            if done == training.steps or signal_number is not None or time.monotonic() - saved > SAVE_EVERY:
                save_state(state, done, _position(optimiser, schedule) | {"precision": precision}, objects)
                saved = time.monotonic()
            if signal_number is not None:
                raise Stopped(signal_number, ended(done, training.steps))


def _image(
    codec: MaskCodec, training: CodecTraining, step: int, device: torch.device, samples: CodecSamples | None
) -> Tensor:
    """What is encoded in a step, [N,C,H,W] in [-1,1]: the seed and the number of the step alone decide it."""
    rng = np.random.default_rng([0, training.seed, step])
    if samples is None:
        image = codec.image_of(draw_masks(rng, training.batch, training.size, device))
    elif samples.encodes == "image":
        image = samples.draw_images(rng).to(device)
    else:
        masks = samples.draw(rng).to(device)
        if codec.classes is None:
            masks = own_masks(masks, torch.from_numpy(rng.integers(masks.shape[1], size=len(masks))), 1)
        image = codec.image_of(masks)
    if training.crop is not None and step < (1.0 - training.whole) * training.steps:
        top, left = (int(rng.integers(0, side - training.crop + 1)) for side in image.shape[-2:])
        image = image[..., top : top + training.crop, left : left + training.crop]
    return image


def _loss(codec: MaskCodec, training: CodecTraining, image: Tensor, weights: Tensor | None) -> Tensor:
    """The error of what is decoded, and a share of the mean KL divergence of the posterior; `weights` of classes."""
    posterior = codec.autoencoder.encode(image).latent_dist
    decoded = codec.autoencoder.decode(posterior.sample()).sample.float()
    labels = codec.classes is not None
    if labels:
        one_hot = (image + 1.0) / 2.0
        error = class_loss(decoded, one_hot, dice_weight=training.dice_weight, class_weights=weights)
    else:
        error = (l1_loss if training.distance == "l1" else mse_loss)(decoded, image)
    loss: Tensor = error + training.kl_weight * posterior.kl().mean()
    return loss


def _position(optimiser: torch.optim.Optimizer, schedule: OneCycleLR) -> dict[str, Any]:
    """Where the schedule stands, and what it has set in the optimiser."""
    group, schedule_state = optimiser.param_groups[0], schedule.state_dict()
    position = {name: schedule_state[name] for name in ("last_epoch", "_step_count", "_last_lr")}
    return {"schedule": position, "lr": float(group["lr"]), "betas": list(group["betas"])}


def _continued(state: Path, objects: SavedObjects, schedule: OneCycleLR) -> tuple[int, str | None]:
    """The step to go on from, with everything as it was then, and the number format; 0 and None for a new training."""
    latest = latest_state(state)
    if latest is None:
        return 0, None
    restore(latest, objects)
    schedule.load_state_dict(latest.progress["schedule"])
    objects.optimiser.param_groups[0].update(lr=latest.progress["lr"], betas=tuple(latest.progress["betas"]))
    log.info("continuing after step %d", latest.step)
    return latest.step, latest.progress.get("precision")
