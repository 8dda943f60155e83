"""Checkpoints as LDM and diffusers write them, at the size of the test networks, with random weights."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from sdseg.config.codec import Codec
from sdseg.config.recipe import Recipe
from tests.helpers.networks import recipe

ENCODER = {"block_out_channels": [8, 8], "layers_per_block": 1, "norm_num_groups": 4, "mid_block_attention": True}
CODEC = Codec.model_validate({**ENCODER, "weights": "anywhere", "latent_scale": 0.5})
UNET = {"block_out_channels": [8, 16], "attention": [False, True], "layers_per_block": 1, "norm_num_groups": 4}


def ldm_recipe(**denoiser: Any) -> Recipe:
    return recipe(network={"condition": ENCODER, "denoiser": {**UNET, "heads": 2, **denoiser}})


class _Writer:
    """Weights by LDM's names."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}

    def layer(self, name: str, *shape: int) -> None:
        self.weights[f"{name}.weight"] = torch.randn(shape) * 0.2
        self.weights[f"{name}.bias"] = torch.randn(shape[0]) * 0.1

    def residual(self, name: str, inside: int, outside: int) -> None:
        self.layer(f"{name}.in_layers.0", inside)
        self.layer(f"{name}.in_layers.2", outside, inside, 3, 3)
        self.layer(f"{name}.emb_layers.1", 2 * outside, 32)
        self.layer(f"{name}.out_layers.0", outside)
        self.layer(f"{name}.out_layers.3", outside, outside, 3, 3)
        if inside != outside:
            self.layer(f"{name}.skip_connection", outside, inside, 1, 1)

    def attention(self, name: str, channels: int) -> None:
        self.layer(f"{name}.norm", channels)
        self.layer(f"{name}.qkv", 3 * channels, channels, 1)
        self.layer(f"{name}.proj_out", channels, channels, 1)

    def block(self, name: str, channels: int) -> None:
        for part in ("norm1", "norm2"):
            self.layer(f"{name}.{part}", channels)
        for part in ("conv1", "conv2"):
            self.layer(f"{name}.{part}", channels, channels, 3, 3)

    def middle(self, name: str, channels: int) -> None:
        self.block(f"{name}.block_1", channels)
        self.block(f"{name}.block_2", channels)
        self.layer(f"{name}.attn_1.norm", channels)
        for part in ("q", "k", "v", "proj_out"):
            self.layer(f"{name}.attn_1.{part}", channels, channels, 1, 1)


def ldm_unet() -> dict[str, Tensor]:
    """`openaimodel.UNetModel` of UNET: 8 and 16 channels, attention on the second level."""
    to = _Writer()
    to.layer("time_embed.0", 32, 8)
    to.layer("time_embed.2", 32, 32)
    to.layer("input_blocks.0.0", 8, 4, 3, 3)
    to.residual("input_blocks.1.0", 8, 8)
    to.residual("input_blocks.2.0", 8, 8)  # down
    to.residual("input_blocks.3.0", 8, 16)
    to.attention("input_blocks.3.1", 16)
    to.residual("middle_block.0", 16, 16)
    to.attention("middle_block.1", 16)
    to.residual("middle_block.2", 16, 16)
    to.residual("output_blocks.0.0", 32, 16)
    to.attention("output_blocks.0.1", 16)
    to.residual("output_blocks.1.0", 24, 16)
    to.attention("output_blocks.1.1", 16)
    to.residual("output_blocks.1.2", 16, 16)  # up
    to.residual("output_blocks.2.0", 24, 8)
    to.residual("output_blocks.3.0", 16, 8)
    to.layer("out.0", 8)
    to.layer("out.2", 4, 8, 3, 3)
    return to.weights


def kl_autoencoder() -> dict[str, Tensor]:
    """`autoencoder.AutoencoderKL` of CODEC."""
    to = _Writer()
    to.layer("encoder.conv_in", 8, 3, 3, 3)
    to.block("encoder.down.0.block.0", 8)
    to.layer("encoder.down.0.downsample.conv", 8, 8, 3, 3)
    to.block("encoder.down.1.block.0", 8)
    to.middle("encoder.mid", 8)
    to.layer("encoder.norm_out", 8)
    to.layer("encoder.conv_out", 8, 8, 3, 3)
    to.layer("decoder.conv_in", 8, 4, 3, 3)
    to.middle("decoder.mid", 8)
    for level in (0, 1):
        to.block(f"decoder.up.{level}.block.0", 8)
        to.block(f"decoder.up.{level}.block.1", 8)
    to.layer("decoder.up.1.upsample.conv", 8, 8, 3, 3)
    to.layer("decoder.norm_out", 8)
    to.layer("decoder.conv_out", 3, 8, 3, 3)
    to.layer("quant_conv", 8, 8, 1, 1)
    to.layer("post_quant_conv", 4, 4, 1, 1)
    return to.weights


def write_ldm(folder: Path, *, first_stage: bool = True, ema: bool = True) -> tuple[Path, Path]:
    """The two files of the paper's initial weights, with all that Lightning leaves in them."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    raw, autoencoder = ldm_unet(), kl_autoencoder()
    state: dict[str, Tensor] = {f"model.diffusion_model.{name}": value for name, value in raw.items()}
    if ema:
        for name, value in raw.items():
            state["model_ema." + f"diffusion_model{name}".replace(".", "")] = value * 0.5
        state |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(7)}
    if first_stage:
        state |= {f"first_stage_model.{name}": value for name, value in autoencoder.items()}
    state |= {"betas": torch.ones(4), "sqrt_alphas_cumprod": torch.ones(4), "scale_factor": torch.tensor(0.2)}
    save(folder / "lsun.ckpt", state)
    save(folder / "kl-f8.ckpt", autoencoder | {"loss.logvar": torch.zeros(()), "loss.discriminator.x": torch.ones(2)})
    return folder / "lsun.ckpt", folder / "kl-f8.ckpt"


def save(path: Path, state: dict[str, Tensor]) -> None:
    """As Lightning 1.x saves: classes of its own name the callbacks."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})  # type: ignore[attr-defined]
    names = ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__)
    before = {name: sys.modules.get(name) for name in names}
    sys.modules |= {name: types.ModuleType(name) for name in names[:2]} | {names[2]: module}
    try:
        left = {"global_step": 9, "epoch": 1, "callbacks": {module.ModelCheckpoint: {"best": torch.ones(1).numpy()[0]}}}
        torch.save({"state_dict": state, **left}, path)
    finally:
        for name, old in before.items():
            sys.modules.pop(name)
            if old is not None:
                sys.modules[name] = old


def write_stable_diffusion(folder: Path, *, half: bool = False) -> UNet2DConditionModel:
    """`unet/` and `vae/` as diffusers writes them; returns the UNet."""
    torch.manual_seed(6)
    unet = UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=6,
        attention_head_dim=2,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    )
    variant = "fp16" if half else None
    for module, name in ((unet, "unet"), (vae, "vae")):
        (module.half() if half else module).save_pretrained(folder / name, variant=variant)
    return unet.float().eval()


def stable_diffusion_recipe(**changes: Any) -> Recipe:
    context = {"context": "constant", "context_tokens": 3, "context_channels": 6}
    return ldm_recipe(**{"architecture": "stable-diffusion", **context, **changes})
