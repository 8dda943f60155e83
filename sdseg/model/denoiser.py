"""The networks on either side of the latent: the condition encoder τ and the UNet that sees its output."""

from __future__ import annotations

from diffusers.models.attention_processor import Attention
from diffusers.models.autoencoders.vae import Encoder
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, cat, nn

from sdseg.errors import UserError
from sdseg.model.codecs import MaskCodec, encoder_arguments
from sdseg.networks import ConditionEncoder, Denoiser

__all__ = ["ConditionalDenoiser", "ImageEncoder"]


class ImageEncoder(nn.Module):
    """Image in [-1,1], [N,3,H,W] -> condition latent z_c, [N,C,h,w], not scaled (as published)."""

    def __init__(self, settings: ConditionEncoder) -> None:
        super().__init__()
        self.encoder = Encoder(**encoder_arguments(settings, settings.latent_channels))
        if settings.dropout:
            set_dropout(self.encoder, settings.dropout)
        # The official code puts a new 1×1 convolution here, not the autoencoder's quant_conv.
        self.projection = nn.Conv2d(2 * settings.latent_channels, settings.latent_channels, 1)

    def start_from(self, codec: MaskCodec) -> None:
        """Copy the mask encoder's weights: the paper starts both encoders from the same ones."""
        theirs = codec.autoencoder.encoder.state_dict()
        own = self.encoder.state_dict()
        if {key: value.shape for key, value in own.items()} != {key: value.shape for key, value in theirs.items()}:
            raise UserError(
                "the condition encoder's layout differs from the codec's, so its weights cannot be copied",
                where="network.condition of the recipe",
                remedy="give it the codec's layout and latent_channels, or set init: random",
            )
        self.encoder.load_state_dict(theirs)

    def forward(self, image: Tensor) -> Tensor:
        condition: Tensor = self.projection(self.encoder(image))
        return condition


class ConditionalDenoiser(nn.Module):
    """UNet on concat(z_t, z_c): one prediction [N,C,h,w] per call."""

    def __init__(self, settings: Denoiser, latent_channels: int, condition_channels: int, structures: int) -> None:
        super().__init__()
        self.latent_channels = latent_channels
        # LDM changes resolution in residual blocks everywhere; with plain UpBlock2D the first level up would lack one
        # (288.5 M parameters at full width, not 295.0 M).
        down = tuple("AttnDownBlock2D" if wanted else "ResnetDownsampleBlock2D" for wanted in settings.attention)
        up = tuple("AttnUpBlock2D" if wanted else "ResnetUpsampleBlock2D" for wanted in reversed(settings.attention))
        self.unet = UNet2DModel(
            in_channels=latent_channels + condition_channels,
            out_channels=latent_channels,
            down_block_types=down,
            up_block_types=up,
            block_out_channels=settings.block_out_channels,
            layers_per_block=settings.layers_per_block,
            norm_num_groups=settings.norm_num_groups,
            attn_norm_num_groups=settings.norm_num_groups,
            dropout=settings.dropout,
            resnet_time_scale_shift="scale_shift",
            downsample_type="resnet",
            upsample_type="resnet",
            attention_head_dim=max(settings.block_out_channels[-1] // settings.heads, 1),
            num_class_embeds=structures if structures > 1 else None,
        )
        # UNet2DModel knows one head size only; LDM fixes the number of heads instead.
        for module in self.unet.modules():
            if isinstance(module, Attention):
                module.heads = settings.heads

    def forward(self, noisy: Tensor, condition: Tensor, timesteps: Tensor, structure: Tensor | None) -> Tensor:
        """Prediction for z_t [N,C,h,w] given z_c [N,C',h,w], t [N] and, for several structures, their index [N]."""
        joined = cat([noisy, condition], dim=1)  # [N,C+C',h,w]
        prediction: Tensor = self.unet(joined, timesteps, class_labels=structure, return_dict=False)[0]
        return prediction


def set_dropout(module: nn.Module, rate: float) -> None:
    """Set the rate of every dropout layer (diffusers' `Encoder` has no argument for it)."""
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = rate
