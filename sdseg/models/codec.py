"""The mask autoencoder: binary mask <-> latent. Owns the latent scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import Decoder
from safetensors.torch import load_file
from torch import Tensor, nn

from sdseg.config.network import Autoencoder, Codec
from sdseg.core.errors import UserError, nearest

__all__ = [
    "MaskCodec",
    "MaskDecoder",
    "encoder_arguments",
    "load_pretrained",
    "load_strictly",
    "mask_image",
    "mask_logits",
    "mask_probability",
    "modern_names",
]

LOGIT_SLOPE = 6.0


class MaskCodec(nn.Module):
    """A KL autoencoder for masks drawn as images with three equal channels in [-1,1].

    Latents leave `encode` multiplied by `scale`, so that they have about unit variance, and enter `decode` that way.
    """

    def __init__(self, settings: Codec, scale: float = 1.0) -> None:
        super().__init__()
        self.settings = settings
        self.scale = scale
        levels = len(settings.block_out_channels)
        self.autoencoder = AutoencoderKL(
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=settings.block_out_channels,
            layers_per_block=settings.layers_per_block,
            latent_channels=settings.latent_channels,
            norm_num_groups=settings.norm_num_groups,
            mid_block_add_attention=settings.mid_block_attention,
        )

    def moments(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the posterior, scaled, each [N,C,h,w], of masks [N,1,H,W] in {0,1}."""
        posterior = self.autoencoder.encode(mask_image(masks)).latent_dist
        return posterior.mean * self.scale, posterior.std * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Probability [N,1,H,W] in [0,1] of scaled latents [N,C,h,w]."""
        return mask_probability(self.autoencoder.decode(latents / self.scale).sample)


class MaskDecoder(nn.Module):
    """The half of the codec that inference needs: scaled latent -> mask as an image."""

    def __init__(self, settings: Autoencoder, latent_channels: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        levels = len(settings.block_out_channels)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)
        self.decoder = Decoder(
            in_channels=latent_channels,
            out_channels=3,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=settings.block_out_channels,
            layers_per_block=settings.layers_per_block,
            norm_num_groups=settings.norm_num_groups,
            act_fn="silu",
            mid_block_add_attention=settings.mid_block_attention,
        )

    @classmethod
    def of(cls, codec: MaskCodec) -> MaskDecoder:
        """The decoder of a codec, with its weights."""
        decoder = cls(codec.settings, codec.settings.latent_channels, codec.scale)
        names = decoder.state_dict().keys()
        decoder.load_state_dict({key: value for key, value in codec.autoencoder.state_dict().items() if key in names})
        return decoder

    def forward(self, latents: Tensor) -> Tensor:
        """The mask as an image [N,3,H,W], about −1 outside and 1 inside, of scaled latents [N,C,h,w]."""
        decoded: Tensor = self.decoder(self.post_quant_conv(latents / self.scale))
        return decoded


def mask_image(masks: Tensor) -> Tensor:
    """Masks [N,1,H,W] in {0,1} as images [N,3,H,W] in {-1,1} with equal channels."""
    return (masks.float() * 2.0 - 1.0).expand(-1, 3, -1, -1)


def mask_probability(decoded: Tensor) -> Tensor:
    """Decoded images [N,3,H,W] as probability [N,1,H,W]: to [0,1], clamped, mean of the channels (the paper's rule)."""
    return ((decoded + 1.0) / 2.0).clamp(0.0, 1.0).mean(dim=1, keepdim=True)


def mask_logits(decoded: Tensor) -> Tensor:
    """Decoded images [N,3,H,W] as logits [N,1,H,W] of the mask, for training through the decoder.

    The probability itself is clamped: where the decoder overshoots on the wrong side of a pixel its gradient would be
    zero, and cross entropy infinite. The decoder's value before the clamp, about −1 outside and 1 inside, times
    LOGIT_SLOPE has a gradient everywhere, the same threshold, and next to no loss (0.0025) at a clean ±1.
    """
    return LOGIT_SLOPE * decoded.float().mean(dim=1, keepdim=True)


def encoder_arguments(settings: Autoencoder, latent_channels: int) -> dict[str, Any]:
    """Arguments of diffusers' `Encoder` for the same layout as the codec's."""
    return {
        "in_channels": 3,
        "out_channels": latent_channels,
        "down_block_types": ("DownEncoderBlock2D",) * len(settings.block_out_channels),
        "block_out_channels": settings.block_out_channels,
        "layers_per_block": settings.layers_per_block,
        "norm_num_groups": settings.norm_num_groups,
        "act_fn": "silu",
        "double_z": True,
        "mid_block_add_attention": settings.mid_block_attention,
    }


def load_pretrained(codec: MaskCodec, folder: Path) -> None:
    """Load the weights of a diffusers `AutoencoderKL` folder (`*.safetensors`), strictly."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(
            "no *.safetensors file of a pretrained mask autoencoder",
            where=folder,
            remedy="put a diffusers AutoencoderKL there (config.json and diffusion_pytorch_model.safetensors), "
            "or train a small codec by giving 'training' in place of 'weights'",
        )
    try:
        weights = load_file(files[0])
    except Exception as error:  # safetensors raises its own class, which it does not export
        raise UserError(f"cannot read the weights: {error}", where=files[0], remedy="get the file again") from None
    load_strictly(codec.autoencoder, modern_names(weights), files[0])


def load_strictly(module: nn.Module, weights: dict[str, Tensor], where: Path) -> None:
    """Load weights into a module; every key and shape must agree, else UserError names the first that does not."""
    own = module.state_dict()
    missing = sorted(own.keys() - weights.keys())
    extra = sorted(weights.keys() - own.keys())
    shapes = [key for key in own.keys() & weights.keys() if own[key].shape != weights[key].shape]
    if missing or extra or shapes:
        hints = []
        if missing:
            hints.append(f"{len(missing)} missing, first '{missing[0]}'")
        if extra:
            hints.append(f"{len(extra)} unknown, first '{extra[0]}' ({nearest(extra[0], missing or own)})")
        if shapes:
            key = min(shapes)
            hints.append(f"'{key}' is {tuple(weights[key].shape)}, not {tuple(own[key].shape)}")
        raise UserError(
            f"the weights do not fit the network: {'; '.join(hints)}",
            where=where,
            remedy="use weights of the architecture that the settings describe, or settings that describe the weights",
        )
    module.load_state_dict(weights)


def modern_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Older diffusers files call the attention of the middle block query/key/value/proj_attn, with 1×1 convolutions."""
    renamed = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
    modern = {}
    for key, value in weights.items():
        for old, new in renamed.items():
            key = key.replace(old, new)
        linear = any(part in key for part in renamed.values()) and value.ndim == 4
        modern[key] = torch.squeeze(value, (2, 3)) if linear else value
    return modern
