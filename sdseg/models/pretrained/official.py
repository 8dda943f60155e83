"""The official SDSeg checkpoint (a Lightning file of LDM modules), taken apart strictly: every key is accounted for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sdseg.config.network import LatentNetwork, UnetConditionEncoder, UnetDenoiser
from sdseg.core.errors import UserError, nearest
from sdseg.models import diffusion
from sdseg.models.codec import MaskCodec, load_strictly
from sdseg.models.latent_segmenter import LatentSegmenter
from sdseg.models.pretrained.checkpoint_file import Weights, read_checkpoint_file
from sdseg.models.pretrained.ldm import autoencoder_from_ldm, ema_names, encoder_from_ldm, unet_from_ldm

__all__ = ["OfficialCheckpoint", "fill_segmenter", "read_checkpoint"]

PARTS = ("model.diffusion_model.", "model_ema.", "first_stage_model.", "cond_stage_model.")
# Buffers that follow from the schedule, and training losses of the autoencoder: nothing of them is kept.
BUFFERS = ("betas", "alphas_cumprod", "alphas_cumprod_prev", "scale_factor", "logvar", "lvlb_weights")
BUFFER_STEMS = ("sqrt_", "log_one_minus_", "posterior_")
UNUSED = ("first_stage_model.loss.", "cond_stage_model.loss.", "cond_stage_model.decoder.", "cond_stage_model.quant")


@dataclass(frozen=True)
class OfficialCheckpoint:
    """Weights by module, float32, by LDM's names within each module."""

    unet: Weights
    unet_ema: Weights  # with the raw weights' names; empty where the file has none
    autoencoder: Weights
    condition: Weights
    scale: float  # of the mask latents
    alphas_cumprod: Tensor  # [T]
    step: int
    path: Path


def read_checkpoint(path: Path) -> OfficialCheckpoint:
    """Read a checkpoint without running code from it. Raises UserError for a damaged, foreign or unsafe file."""
    weights, step = read_checkpoint_file(path, "an official SDSeg checkpoint")
    parts: dict[str, Weights] = {prefix: {} for prefix in PARTS}
    for name, value in weights.items():
        if name.startswith(UNUSED):
            continue
        prefix = next((prefix for prefix in PARTS if name.startswith(prefix)), None)
        if prefix is not None:
            parts[prefix][name.removeprefix(prefix)] = value.float()
        elif name not in BUFFERS and not name.startswith(BUFFER_STEMS):
            raise _foreign(f"unknown key '{name}' ({nearest(name, (*PARTS, *BUFFERS))})", path)
    missing = [prefix for prefix in PARTS if prefix != "model_ema." and not parts[prefix]]
    missing += [name for name in ("scale_factor", "alphas_cumprod") if name not in weights]
    if missing:
        raise _foreign(f"nothing below '{missing[0]}'", path)
    unet = parts["model.diffusion_model."]
    return OfficialCheckpoint(
        unet=unet,
        unet_ema=ema_names(parts["model_ema."], unet),
        autoencoder=parts["first_stage_model."],
        condition=parts["cond_stage_model."],
        scale=float(weights["scale_factor"]),
        alphas_cumprod=weights["alphas_cumprod"].float(),
        step=step,
        path=path,
    )


def fill_segmenter(
    segmenter: LatentSegmenter, network: LatentNetwork, codec: MaskCodec, checkpoint: OfficialCheckpoint, *, ema: bool
) -> None:
    """Load the checkpoint's networks into a segmenter built with the same layout, and its autoencoder into `codec`.

    `ema` takes the averaged UNet, as the official evaluation does (the encoder is raw in either case). Raises UserError
    where a layout or the noise schedule differs.
    """
    if isinstance(network.condition, UnetConditionEncoder):
        raise UserError(
            "the checkpoint's condition encoder is built like an autoencoder's",
            where="network.condition.architecture of the recipe",
            remedy="set it to autoencoder",
        )
    if isinstance(network.denoiser, UnetDenoiser):
        raise UserError(
            "the checkpoint's denoiser is LDM's UNet",
            where="network.denoiser.architecture of the recipe",
            remedy="set it to ldm",
        )
    ours = diffusion.alphas_cumprod(segmenter.process).float()
    theirs = checkpoint.alphas_cumprod
    if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=1e-3):
        raise UserError(
            f"the checkpoint's noise schedule is another one: {len(theirs)} timesteps, last ᾱ {float(theirs[-1]):.3g}, "
            f"where the recipe has {len(ours)} and {float(ours[-1]):.3g}",
            where=checkpoint.path,
            remedy="set diffusion.timesteps, beta_start, beta_end and schedule of the recipe to the checkpoint's",
        )
    if ema and not checkpoint.unet_ema:
        raise UserError(
            "the checkpoint holds no averaged UNet", where=checkpoint.path, remedy="convert with --unet raw"
        )
    unet = checkpoint.unet_ema if ema else checkpoint.unet
    path = checkpoint.path
    load_strictly(codec.autoencoder, autoencoder_from_ldm(checkpoint.autoencoder, codec.settings), path)
    load_strictly(segmenter.denoiser.unet, unet_from_ldm(unet, network.denoiser), path)
    load_strictly(segmenter.condition_encoder, encoder_from_ldm(checkpoint.condition, network.condition), path)


def _foreign(why: str, path: Path) -> UserError:
    return UserError(f"not an official SDSeg checkpoint: {why}", where=path, remedy="name the file the authors publish")
