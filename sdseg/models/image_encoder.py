"""The condition encoder τ: an image to the latent that the denoiser sees."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

from diffusers.models.autoencoders.vae import Encoder
from diffusers.models.unets.unet_2d_blocks import DownEncoderBlock2D
from torch import Tensor, nn

from sdseg.config.network import ConditionEncoder, UnetConditionEncoder
from sdseg.core.errors import UserError
from sdseg.models.codec import MaskCodec, encoder_arguments
from sdseg.models.first_layer import widened
from sdseg.models.unet_blocks import ConvolutionPair, PooledPair

__all__ = ["ImageEncoder"]


class ImageEncoder(nn.Module):
    """Image in [-1,1], [N,P,H,W] -> condition latent z_c, [N,C,h,w], not scaled (as published).

    P planes are three, or as many as the images have named channels. With `neighbours: k` of the settings the image has
    them for each of 2k+1 slices.
    """

    def __init__(self, settings: ConditionEncoder | UnetConditionEncoder, planes: int = 3) -> None:
        super().__init__()
        entering = planes * (2 * settings.neighbours + 1)
        self.planes = planes
        if isinstance(settings, UnetConditionEncoder):
            self.encoder: nn.Module = _way_down(settings.block_out_channels, settings.dropout, entering)
            channels = settings.block_out_channels[-1]
        else:
            self.encoder = Encoder(**encoder_arguments(settings, settings.latent_channels, entering))
            if settings.dropout:
                set_dropout(self.encoder, settings.dropout)
            channels = 2 * settings.latent_channels
        # The official code puts a new 1×1 convolution here, not the autoencoder's quant_conv.
        self.projection = nn.Conv2d(channels, settings.latent_channels, 1)
        self.coarser = nn.ModuleList()
        if isinstance(settings, UnetConditionEncoder) and settings.coarser_channels:
            self.coarser = nn.ModuleList(_way_down(settings.coarser_channels, settings.dropout, channels, below=True))
        self.settings = settings

    @property
    def finer_levels(self) -> tuple[nn.Module, ...]:
        """The modules that give the features of each level finer than the latent: [N,C,H,W], [N,C',H/2,W/2], …"""
        if isinstance(self.encoder, Encoder):
            blocks = cast("list[DownEncoderBlock2D]", list(self.encoder.down_blocks)[:-1])
            return tuple(block.resnets[-1] for block in blocks)
        return tuple(self.encoder.children())[:-1]

    def start_from(self, codec: MaskCodec) -> None:
        """Copy the mask encoder's weights, where the settings say so: the paper starts both encoders alike.

        With `projection: quant_conv` the half of the codec's 1×1 convolution that gives the mean comes along: the
        condition latent then starts as the image's latent, not as a random mixture of its moments; that of a codec of
        images has its scale. Of a codec for label maps the first convolution, which sees classes and not colours,
        stays new; else it is widened (`first_layer`), and sees nothing new at first.
        """
        if isinstance(self.settings, UnetConditionEncoder) or self.settings.init != "codec":
            return
        theirs = codec.autoencoder.encoder.state_dict()
        own = self.encoder.state_dict()
        if codec.classes is not None:
            theirs |= {key: own[key] for key in own if key.startswith("conv_in.")}
        else:
            theirs = widened(theirs, own, 3, self.planes)
        if {key: value.shape for key, value in own.items()} != {key: value.shape for key, value in theirs.items()}:
            raise UserError(
                "the condition encoder's layout differs from the codec's, so its weights cannot be copied",
                where="network.condition of the recipe",
                remedy="give it the codec's layout and latent_channels, or set init: random",
            )
        self.encoder.load_state_dict(theirs)
        if self.settings.projection == "quant_conv":
            whole = codec.autoencoder.quant_conv.state_dict()  # [2C,2C,1,1]: mean, then logarithm of the variance
            scale = codec.scale if codec.settings.encodes == "image" else 1.0  # as published: z_c is not scaled
            self.projection.load_state_dict({key: scale * value[: len(value) // 2] for key, value in whole.items()})

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The condition latent, and the image's features at [N,D,h/2,w/2], [N,D',h/4,w/4], … where there are any."""
        current: Tensor = self.encoder(image)
        condition: Tensor = self.projection(current)
        coarser: list[Tensor] = []
        for level in self.coarser:
            current = level(current)
            coarser.append(current)
        return condition, coarser


def _way_down(channels: Sequence[int], dropout: float, entering: int, *, below: bool = False) -> nn.Sequential:
    """The encoder of MONAI's `BasicUNet`, level by level; its levels `below` others begin with a pooling."""
    levels: OrderedDict[str, nn.Module] = OrderedDict()
    current = entering
    for number, count in enumerate(channels):
        block = PooledPair if number or below else ConvolutionPair
        levels[f"level_{number}"] = block(current, count, dropout)
        current = count
    return nn.Sequential(levels)


def set_dropout(module: nn.Module, rate: float) -> None:
    """Set the rate of every dropout layer (diffusers' `Encoder` has no argument for it)."""
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = rate
