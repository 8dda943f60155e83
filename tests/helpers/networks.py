"""Settings of networks small enough for tests, of the same classes as the real ones."""

from __future__ import annotations

from typing import Any

import torch

from sdseg.config.codec import Codec
from sdseg.config.recipe import Recipe
from sdseg.config.recipe_overrides import lay_over
from sdseg.models.codec import MaskCodec

CODEC = Codec.model_validate(
    {
        "block_out_channels": [8, 8],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "mid_block_attention": False,
        "training": {"steps": 2, "batch": 4, "size": 32},
    }
)

AUTOENCODER = {
    "architecture": "autoencoder",
    "block_out_channels": [8, 8],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "mid_block_attention": False,
}
CLASSIC = {"architecture": "unet", "block_out_channels": [4, 6], "latent_channels": 5}  # another condition encoder

ONE_LEVEL = {"block_out_channels": [8], "attention": [False]}  # a denoiser that exports sooner, with attention midway
# The architectures of the default recipe: to train, to predict and to export them takes a third of the time.
QUICK = {"condition": CLASSIC, "denoiser": {"architecture": "unet", "block_out_channels": [6, 8]}}

DIRECT: dict[str, dict[str, Any]] = {  # one network of each architecture
    "unet": {},
    "basic-unet": {"architecture": "basic-unet", "channels": [4, 4, 6, 6, 8]},
    "dynunet": {"architecture": "dynunet", "channels": [4, 6, 8, 8], "deep_supervision": True},
}


def recipe(**overrides: Any) -> Recipe:
    """A one-step latent recipe for the codec above; keyword values are laid over its sections."""
    base = {
        "description": "tiny",
        "network": {
            "kind": "latent-diffusion",
            "codec": "small",
            "condition": AUTOENCODER,
            "denoiser": {
                "block_out_channels": [8, 16],
                "attention": [False, True],
                "layers_per_block": 1,
                "norm_num_groups": 4,
                "heads": 2,
            },
        },
        "diffusion": {},
        "optimiser": {"learning_rate": 1e-3},
        "training": {
            "steps": 8,
            "batch": 4,
            "ema_decay": 0.9,
            "validate_every": 4,
            "checkpoint_every": 2,
            "log_every": 1,
            "workers": 0,
        },
    }
    return Recipe.model_validate(lay_over(base, overrides))


def quick_recipe(**overrides: Any) -> Recipe:
    """The same with the quick networks."""
    return Recipe.model_validate(lay_over(recipe(network=QUICK).model_dump(mode="json"), overrides))


def direct_recipe(**overrides: Any) -> Recipe:
    """A tiny plain U-Net."""
    base = recipe().model_dump(mode="json") | {
        "network": {"kind": "direct", "channels": [4, 8], "residual_units": 0},
        "diffusion": None,
    }
    return Recipe.model_validate(lay_over(base, overrides))


def codec(seed: int = 0, scale: float = 0.7) -> MaskCodec:
    torch.manual_seed(seed)
    return MaskCodec(CODEC, scale).eval()
