"""Layout of the latent method whose four networks are trained as one, from random weights (LDSeg, arXiv 2407.12952)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sdseg.config.codec import check_groups
from sdseg.config.noise_process import Diffusion
from sdseg.core.settings import Strict, Width

__all__ = [
    "EndToEndNetwork",
    "ImageBranch",
    "LabelDecoderLayout",
    "LabelEncoderLayout",
    "LatentDenoiser",
    "check_end_to_end",
]

Heads = Annotated[int, Field(ge=1, le=65536)]


def _check_attention(channels: tuple[int, ...], attention: tuple[bool, ...], heads: int, key: str) -> None:
    if len(attention) != len(channels):
        raise ValueError(f"'attention' needs one value per entry of '{key}'")
    for count, attends in zip(channels, attention, strict=True):
        if attends and count % heads:
            raise ValueError(f"{count} channels cannot be shared among {heads} attention heads")


class LabelEncoderLayout(Strict):
    """Label map to latent: a residual block of two convolutions per level, halved between one and the next."""

    channels: tuple[Width, ...] = Field((16, 32, 64, 64, 32), min_length=2, max_length=12)
    # 'one-hot': a channel per class; 'index': one channel with the number of the class, as the official code does
    input: Literal["one-hot", "index"] = "one-hot"
    dropout: float = Field(0.2, ge=0, lt=1)


class ImageBranch(Strict):
    """Image to the latent that the denoiser sees beside the noisy one: a strided convolution from level to level."""

    channels: tuple[Width, ...] = Field((16, 32, 64, 64, 32), min_length=2, max_length=12)
    attention: tuple[bool, ...] = (False, False, False, True, True)  # self-attention, per level
    heads: Heads = 8
    latent_channels: int = Field(1, ge=1, le=65536)

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        _check_attention(self.channels, self.attention, self.heads, "channels")
        return self


class LatentDenoiser(Strict):
    """The UNet on latents, with attention at the levels that say so and between the way down and the way up."""

    block_out_channels: tuple[Width, ...] = Field((16, 32, 64), min_length=1, max_length=12)
    attention: tuple[bool, ...] = (False, True, True)
    layers_per_block: int = Field(2, ge=1, le=64)
    norm_num_groups: int = Field(8, ge=1, le=65536)
    heads: Heads = 8

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        # Between the way down and the way up there is attention in any case.
        attention = (*self.attention[:-1], True) if self.attention else ()
        _check_attention(self.block_out_channels, attention, self.heads, "block_out_channels")
        check_groups(self.block_out_channels, self.norm_num_groups)
        return self


class LabelDecoderLayout(Strict):
    """Latent to one logit per class: per level a transposed convolution to twice the size, and a residual block."""

    channels: tuple[Width, ...] = Field((32, 64, 64, 32), min_length=1, max_length=11)


class EndToEndNetwork(Strict):
    """Label encoder, image encoder, denoiser and label decoder; there is no codec.

    The latent of a label map has zero mean and unit deviation in every case, so that noise of unit deviation means the
    same to all.
    """

    kind: Literal["end-to-end-diffusion"]
    dimensions: Literal[2, 3] = 2  # 3: of patches of volumes (`patches` of the recipe)
    latent_channels: int = Field(1, ge=1, le=1024)
    label_encoder: LabelEncoderLayout = LabelEncoderLayout()
    image_encoder: ImageBranch = ImageBranch()
    denoiser: LatentDenoiser = LatentDenoiser()
    label_decoder: LabelDecoderLayout = LabelDecoderLayout()
    # Of label encoder and decoder. 'batch': also of the condition latent and the logits, as the official code does; its
    # running statistics are those of the last weights, and not of the averaged ones.
    norm: Literal["group", "batch"] = "group"
    norm_num_groups: int = Field(4, ge=1, le=65536)  # of 'norm: group', and of the image encoder in any case
    # What the decoder learns to decode: the estimate of z_0 (Eq. 2), or z_t − ñ, as the official code does
    decoder_input: Literal["estimate", "difference"] = "estimate"

    @property
    def factor(self) -> int:
        """How many pixels of the image one latent pixel spans along each axis."""
        return 1 << (len(self.label_encoder.channels) - 1)

    def latent_shape(self, sides: Sequence[int]) -> tuple[int, ...]:
        """(c,h,w) of the latent of an image of so many pixels along each axis; of a volume (c,d,h,w)."""
        return self.latent_channels, *(side // self.factor for side in sides)

    @property
    def smallest(self) -> int:
        """Sides of the image must be multiples of this many pixels: the coarsest level of the denoiser has one."""
        return self.factor << (len(self.denoiser.block_out_channels) - 1)

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        label, image, decoder = self.label_encoder.channels, self.image_encoder.channels, self.label_decoder.channels
        if not len(label) == len(image) == len(decoder) + 1:
            raise ValueError(
                f"'label_encoder.channels' halves {len(label) - 1} times, 'image_encoder.channels' {len(image) - 1}, "
                f"and 'label_decoder.channels' doubles {len(decoder)} times: give the encoders one entry more than it"
            )
        # The image's first level is normalised where it attends alone.
        grouped = image if self.image_encoder.attention[0] else image[1:]
        check_groups(grouped if self.norm == "batch" else (*label, *grouped, *decoder), self.norm_num_groups)
        return self


def check_end_to_end(network: EndToEndNetwork, process: Diffusion) -> None:
    """Raise ValueError where the rest of the recipe asks for what networks trained as one cannot do."""
    kind = f"'network.kind: {network.kind}'"
    if not process.loss_mask or process.loss_mask_from:
        raise ValueError(
            f"{kind} trains its decoder from the first step on, by the loss on the mask alone; give "
            "'diffusion.loss_mask' a weight, and leave out 'loss_mask_from'"
        )
    if process.loss_noise and process.prediction == "x0":
        raise ValueError(
            "'diffusion.loss_noise' weighs the error of the noise, and with 'prediction: x0' the network predicts none "
            "(what follows from z_0 is divided by √(1 − ᾱ), next to 0 at the first timesteps); predict v or epsilon, "
            "or weigh 'loss_latent' instead"
        )
    if process.train_noise == "zero" and not process.loss_latent:
        raise ValueError(
            "'diffusion.train_noise: zero' shows the denoiser nothing of the label's latent, and with 'loss_latent: 0' "
            f"the label encoder of {kind} has nothing to learn by; give 'loss_latent' a weight"
        )
    if network.decoder_input == "difference" and process.prediction != "epsilon":
        raise ValueError(
            f"'network.decoder_input: difference' is z_t less the predicted noise, and 'prediction: "
            f"{process.prediction}' predicts none; set 'prediction: epsilon', or 'decoder_input: estimate'"
        )
    if process.sample_latents:
        raise ValueError(f"'diffusion.sample_latents' samples a codec's latents, and {kind} has no codec; leave it out")
