"""The mask autoencoder: binary mask, or label map, <-> latent. Owns the latent scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import Decoder
from safetensors.torch import load_file
from torch import Tensor, nn

from sdseg.config.codec import Autoencoder, Codec
from sdseg.core.errors import UserError, nearest
from sdseg.models.label_classes import LabelClasses

__all__ = [
    "MaskCodec",
    "MaskDecoder",
    "encoder_arguments",
    "load_inner",
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

    With `classes` (of settings that say `encodes: labels`) it is one for label maps: the classes one-hot in {-1,1}, and
    their logits out. Latents leave `encode` multiplied by `scale`, so that they have about unit variance, and enter
    `decode` that way.
    """

    def __init__(self, settings: Codec, scale: float = 1.0, classes: LabelClasses | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.scale = scale
        self.classes = classes
        channels = 3 if classes is None else classes.count
        levels = len(settings.block_out_channels)
        self.autoencoder = AutoencoderKL(
            in_channels=channels,
            out_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=settings.block_out_channels,
            layers_per_block=settings.layers_per_block,
            latent_channels=settings.latent_channels,
            norm_num_groups=settings.norm_num_groups,
            mid_block_add_attention=settings.mid_block_attention,
        )

    @property
    def at_once(self) -> int:
        """How many structures one latent holds, K: 1, or all of a label map."""
        return 1 if self.classes is None else self.classes.structures

    def image_of(self, masks: Tensor) -> Tensor:
        """What is encoded of masks [N,K,H,W] in {0,1}: an image in {-1,1} with three channels, or one per class."""
        return mask_image(masks) if self.classes is None else self.classes.one_hot(masks) * 2.0 - 1.0

    def moments(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the posterior, scaled, each [N,C,h,w], of masks [N,K,H,W] in {0,1}."""
        posterior = self.autoencoder.encode(self.image_of(masks)).latent_dist
        return posterior.mean * self.scale, posterior.std * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Probability [N,K,H,W] in [0,1] of scaled latents [N,C,h,w]."""
        return mask_probability(self.autoencoder.decode(latents / self.scale).sample, self.classes)


class MaskDecoder(nn.Module):
    """The half of the codec that inference needs: scaled latent -> mask as an image, or logits of classes."""

    def __init__(
        self, settings: Autoencoder, latent_channels: int, scale: float, classes: LabelClasses | None = None
    ) -> None:
        super().__init__()
        self.latent_channels, self.scale, self.classes = latent_channels, scale, classes
        levels = len(settings.block_out_channels)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)
        self.decoder = Decoder(
            in_channels=latent_channels,
            out_channels=3 if classes is None else classes.count,
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
        decoder = cls(codec.settings, codec.settings.latent_channels, codec.scale, codec.classes)
        names = decoder.state_dict().keys()
        decoder.load_state_dict({key: value for key, value in codec.autoencoder.state_dict().items() if key in names})
        return decoder

    def forward(self, latents: Tensor) -> Tensor:
        """Of scaled latents [N,C,h,w] the mask as an image [N,3,H,W], about −1 outside and 1 inside.

        Of a codec for label maps the logits of its classes [N,C',H,W].
        """
        decoded: Tensor = self.decoder(self.post_quant_conv(latents / self.scale))
        return decoded

    def logits(self, decoded: Tensor) -> Tensor:
        """Of what `forward` gives the logits of every structure, [N,1 or K,H,W]; see `mask_logits`."""
        return mask_logits(decoded, self.classes)

    def probability(self, decoded: Tensor) -> Tensor:
        """The same as probability; see `mask_probability`."""
        return mask_probability(decoded, self.classes)


def mask_image(masks: Tensor) -> Tensor:
    """Masks [N,1,H,W] in {0,1} as images [N,3,H,W] in {-1,1} with equal channels."""
    return (masks.float() * 2.0 - 1.0).expand(-1, 3, -1, -1)


def mask_probability(decoded: Tensor, classes: LabelClasses | None = None) -> Tensor:
    """Decoded images [N,3,H,W] as probability [N,1,H,W]: to [0,1], clamped, mean of the channels (the paper's rule).

    Decoded logits of `classes` as that of every structure, [N,K,H,W].
    """
    if classes is not None:
        return classes.probability(decoded)
    return ((decoded + 1.0) / 2.0).clamp(0.0, 1.0).mean(dim=1, keepdim=True)


def mask_logits(decoded: Tensor, classes: LabelClasses | None = None) -> Tensor:
    """Decoded images [N,3,H,W] as logits [N,1,H,W] of the mask, for training through the decoder; as above [N,K,H,W].

    The probability itself is clamped: where the decoder overshoots on the wrong side of a pixel its gradient would be
    zero, and cross entropy infinite. The decoder's value before the clamp, about −1 outside and 1 inside, times
    LOGIT_SLOPE has a gradient everywhere, the same threshold, and next to no loss (0.0025) at a clean ±1.
    """
    if classes is not None:
        return classes.logits(decoded)
    return LOGIT_SLOPE * decoded.float().mean(dim=1, keepdim=True)


def encoder_arguments(settings: Autoencoder, latent_channels: int, channels: int = 3) -> dict[str, Any]:
    """Arguments of diffusers' `Encoder` for the same layout as the codec's, of images with some `channels`."""
    return {
        "in_channels": channels,
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
    weights, file = _read_pretrained(folder)
    load_strictly(codec.autoencoder, weights, file)


def load_inner(codec: MaskCodec, folder: Path) -> None:
    """The same into a codec of more or fewer channels: its first and last convolution stay as they are."""
    weights, file = _read_pretrained(folder)
    own = codec.autoencoder.state_dict()
    outer = {key: own[key] for key in own if key.startswith(("encoder.conv_in.", "decoder.conv_out."))}
    load_strictly(codec.autoencoder, weights | outer, file)


def _read_pretrained(folder: Path) -> tuple[dict[str, Tensor], Path]:
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
    return modern_names(weights), files[0]


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
