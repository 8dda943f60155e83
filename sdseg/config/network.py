"""Layouts of the networks of latent diffusion as values: condition encoder, denoiser, and how the codec joins them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from sdseg.config.codec import Autoencoder, check_groups
from sdseg.core.errors import UserError
from sdseg.core.settings import ARCHITECTURE, Name, Place, Strict, Width, architecture_of

__all__ = [
    "MOST_NEIGHBOURS",
    "Alignment",
    "AnyConditionEncoder",
    "AnyDenoiser",
    "ConditionEncoder",
    "Denoiser",
    "LatentNetwork",
    "MaskHead",
    "UnetConditionEncoder",
    "UnetDenoiser",
    "check_codec",
    "check_image_codec",
    "check_same_layout",
    "neighbours_of",
]

MOST_NEIGHBOURS = 8  # slices on each side

Fraction = Annotated[float, Field(ge=-1000, le=1000)]


class ConditionEncoder(Autoencoder):
    """The trainable image encoder τ, built like the codec's; its latent is concatenated to the noisy mask latent."""

    architecture: Literal["autoencoder"] = "autoencoder"
    latent_channels: int = Field(4, ge=1, le=1024)
    init: Literal["codec", "random"] = "codec"  # 'codec' copies the mask encoder's weights: same layout needed
    # The 1×1 convolution behind the encoder: a new random one (the official code), or the mean's half of the codec's.
    projection: Literal["new", "quant_conv"] = "new"
    trainable: bool = True  # false freezes the encoder; the projection is trained either way, but for that of `codec`
    dropout: float = Field(0.0, ge=0, lt=1)
    # A codec of images, by its key in the configuration's `codecs`: the encoder is that one's, and z_c the image's
    # latent with its scale. None: the codec that 'init' copies is that of the masks.
    codec: Name | None = None
    # Slices on each side of a volume's slice that the encoder sees as further channels (2.5-D); at the ends of the
    # volume its last slice is repeated. Weights it starts from see the slice itself alone.
    neighbours: int = Field(0, ge=0, le=MOST_NEIGHBOURS, exclude_if=lambda count: not count)

    @model_validator(mode="after")
    def _neighbours_are_learnt(self) -> Self:
        _check_neighbours(self.neighbours, trainable=self.trainable)
        return self

    @model_validator(mode="after")
    def _codec_is_taken_whole(self) -> Self:
        if self.codec is not None and (self.init != "codec" or self.projection != "quant_conv"):
            raise ValueError(
                f"'codec: {self.codec}' gives the latents of images; set 'init: codec' and 'projection: quant_conv'"
            )
        return self

    @model_validator(mode="after")
    def _projection_exists(self) -> Self:
        if self.projection == "quant_conv" and self.init != "codec":
            raise ValueError("'projection: quant_conv' takes the codec's convolution, which needs 'init: codec'")
        return self


class UnetConditionEncoder(Strict):
    """The image encoder τ as the way down of a classic U-Net: new weights, and more of the work at fine levels.

    Per level two 3×3 convolutions with instance norm and LeakyReLU (0.1), max pooling between levels, and a 1×1
    convolution to the condition latent.
    """

    architecture: Literal["unet"]
    block_out_channels: tuple[Width, ...] = Field((48, 96, 192, 384), min_length=2, max_length=12)
    latent_channels: int = Field(64, ge=1, le=65536)
    # Channels of further levels, at half the latent's size, a quarter, …, which join the denoiser's at their own size.
    coarser_channels: tuple[Width, ...] = Field((), max_length=11)
    trainable: bool = True  # false freezes all but the 1×1 convolution
    dropout: float = Field(0.0, ge=0, lt=1)
    # Slices on each side of a volume's slice that the encoder sees as further channels (2.5-D); at the ends of the
    # volume its last slice is repeated. Weights it starts from see the slice itself alone.
    neighbours: int = Field(0, ge=0, le=MOST_NEIGHBOURS, exclude_if=lambda count: not count)

    @model_validator(mode="after")
    def _neighbours_are_learnt(self) -> Self:
        _check_neighbours(self.neighbours, trainable=self.trainable)
        return self

    @property
    def factor(self) -> int:
        """How many pixels of the image one latent pixel spans along each axis."""
        return 1 << (len(self.block_out_channels) - 1)


def _check_neighbours(count: int, *, trainable: bool) -> None:
    if count and not trainable:
        raise ValueError(
            f"'neighbours: {count}' are of use to an encoder that learns to look at them, and 'trainable: false' "
            "freezes it; leave one of them out"
        )


AnyConditionEncoder = Annotated[
    Annotated[ConditionEncoder, Tag("architecture: autoencoder")]
    | Annotated[UnetConditionEncoder, Tag("architecture: unet")],
    Discriminator(architecture_of("autoencoder")),
]


class Denoiser(Strict):
    """Layout of the UNet on latents, and how it sees the condition.

    `ldm` is LDM's lsun_churches256 UNet (diffusers `UNet2DModel`); `stable-diffusion` is that of Stable Diffusion 1.x
    (`UNet2DConditionModel`), whose cross-attention reads a context: one constant, learnt embedding, or the image.
    """

    architecture: Literal["ldm", "stable-diffusion"] = "ldm"  # or unet: UnetDenoiser
    block_out_channels: tuple[Width, ...] = Field((192, 384, 384, 768, 768), min_length=1, max_length=12)
    attention: tuple[bool, ...] = (True, True, True, True, False)  # self- (and cross-) attention, per level
    layers_per_block: int = Field(2, ge=1, le=64)
    norm_num_groups: int = Field(32, ge=1, le=65536)
    heads: int = Field(8, ge=1, le=65536)
    dropout: float = Field(0.0, ge=0, lt=1)
    concatenate: bool = True  # the condition latent joins the noisy latent at the input (the paper's way)
    context: Literal["constant", "image"] | None = None  # what cross-attention reads; 'image': the condition's pixels
    context_tokens: int = Field(77, ge=1, le=65536)  # length of the constant context
    context_channels: int = Field(768, ge=1, le=65536)

    @model_validator(mode="after")
    def _condition_enters(self) -> Self:
        if (self.architecture == "stable-diffusion") != (self.context is not None):
            raise ValueError(
                "'context' and 'architecture: stable-diffusion' belong together: LDM's has no cross-attention"
            )
        if not self.concatenate and self.context != "image":
            raise ValueError("with 'concatenate: false' the image enters by 'context: image', or not at all")
        if self.architecture == "stable-diffusion" and self.dropout:
            raise ValueError("'architecture: stable-diffusion' has no dropout; set 'dropout: 0.0'")
        return self

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        if len(self.attention) != len(self.block_out_channels):
            raise ValueError("'attention' needs one value per entry of 'block_out_channels'")
        check_groups(self.block_out_channels, self.norm_num_groups)
        for channels, attention in zip(self.block_out_channels, self.attention, strict=True):
            if attention and channels % self.heads:
                raise ValueError(f"{channels} channels cannot be shared among {self.heads} attention heads")
        return self


class UnetDenoiser(Strict):
    """The denoiser as a classic U-Net: nnU-Net's blocks, each level shifted by the timestep, and no attention.

    The condition latent joins the noisy latent at the input.
    """

    architecture: Literal["unet"]
    block_out_channels: tuple[Width, ...] = Field((192, 384, 512), min_length=2, max_length=12)
    dropout: float = Field(0.0, ge=0, lt=1)


def _denoiser_class(section: Any) -> str:
    named = section.get("architecture") if isinstance(section, dict) else getattr(section, "architecture", None)
    return f"{ARCHITECTURE}{'unet' if named == 'unet' else 'ldm'}"


AnyDenoiser = Annotated[
    Annotated[Denoiser, Tag(f"{ARCHITECTURE}ldm")] | Annotated[UnetDenoiser, Tag(f"{ARCHITECTURE}unet")],
    Discriminator(_denoiser_class),
]


class Alignment(Strict):
    """Inner UNet features drawn towards those of a frozen vision encoder while training (LEAF, arXiv 2507.18214).

    The encoder is any PyTorch module as a program saved with `torch.export.save`: images [N,3,S,S], normalised as
    below, to tokens [N,L,C] or a map [N,C,h,w]. Inference and export know nothing of it.
    """

    encoder: Place  # path of the .pt2 file
    sha256: str | None = None  # of that file; checked where given
    size: int = Field(224, ge=8, le=8192)  # S, pixels
    mean: tuple[Fraction, Fraction, Fraction] = (0.485, 0.456, 0.406)  # of channels in [0,1]; ImageNet's
    deviation: tuple[Fraction, Fraction, Fraction] = (0.229, 0.224, 0.225)
    skip_tokens: int = Field(0, ge=0, le=65536)  # leading tokens that are no patch, such as [CLS]
    weight: float = Field(0.75, gt=0, le=1e6)


class MaskHead(Strict):
    """Convolutions from the latent to the logits of a mask: what takes the decoder's place where speed matters.

    A 3×3 convolution per entry of `channels`, the first at the latent's size, each further one at twice the size: with
    a codec of factor 8 four entries reach the image's size, three half of it, two a quarter. The logits are enlarged.
    """

    channels: tuple[Width, ...] = Field((64, 64, 32), min_length=1, max_length=12)


class LatentNetwork(Strict):
    """Condition encoder, denoiser and codec: the latent-diffusion method."""

    kind: Literal["latent-diffusion"] = "latent-diffusion"
    codec: Name = "kl-f8"  # a key of the configuration's `codecs`
    # 'joint': all structures at once, in one pass, by a codec that encodes labels; 'per-class': a pass for each of them
    classes: Literal["per-class", "joint"] = "per-class"
    # 'codec': the codec's own; 'first_batch': 1/std of the first batch of mask latents (official `scale_by_std`)
    latent_scale: Literal["codec", "first_batch"] = "codec"
    condition: AnyConditionEncoder = ConditionEncoder()
    denoiser: AnyDenoiser = Denoiser()
    # 'trained': the mask decoder learns as well, by the mask loss. 'skips': it stays frozen, and what it decodes is
    # corrected at full size from the condition encoder's finer levels, which the same loss trains. 'head': `mask_head`
    # stands in its place.
    decoder: Literal["frozen", "trained", "skips", "head"] = "frozen"
    mask_head: MaskHead | None = None
    alignment: Alignment | None = None

    @property
    def image_codec(self) -> str | None:
        """Name of the codec of images that the condition encoder is taken from, if any."""
        return self.condition.codec if isinstance(self.condition, ConditionEncoder) else None

    @property
    def coarser_channels(self) -> tuple[int, ...]:
        """Channels of the condition's levels coarser than the latent: none in an encoder built like the codec's."""
        return self.condition.coarser_channels if isinstance(self.condition, UnetConditionEncoder) else ()

    @model_validator(mode="after")
    def _head_is_used(self) -> Self:
        if (self.decoder == "head") != (self.mask_head is not None):
            raise ValueError(
                "'decoder: head' and 'mask_head' belong together: give the head's 'channels', or leave both out"
            )
        return self

    @model_validator(mode="after")
    def _coarser_levels_have_a_place(self) -> Self:
        changes = len(self.denoiser.block_out_channels) - 1
        if len(self.coarser_channels) > changes:
            raise ValueError(
                f"'condition.coarser_channels' has {len(self.coarser_channels)} entries, and the denoiser has only "
                f"{changes} level(s) below its first: shorten it, or add to 'denoiser.block_out_channels'"
            )
        return self


def neighbours_of(network: object) -> int:
    """Slices on each side that a network sees beside its own; 0 of one that sees single slices."""
    return network.condition.neighbours if isinstance(network, LatentNetwork) else 0


def check_codec(network: LatentNetwork, encodes: str, where: str, *, structures: int | None = None) -> None:
    """Raise UserError for a codec that encodes what the network does not denoise; `structures` None: not known yet.

    Of a single structure, its mask and its label map are the same.
    """
    joint = network.classes == "joint"
    if encodes == "image":
        raise UserError(
            "the codec encodes images ('encodes: image'), and one of masks or label maps is expected",
            where=where,
            remedy="name it as network.condition.codec, and another as network.codec",
        )
    if joint and encodes == "mask" and structures != 1:
        raise UserError(
            "the network segments all structures at once ('classes: joint'), and the codec encodes one mask",
            where=where,
            remedy="name a codec with 'encodes: labels', or set network.classes: per-class",
        )
    if not joint and encodes == "labels":
        raise UserError(
            "the codec encodes a whole label map ('encodes: labels'), and the network segments one structure a pass",
            where=where,
            remedy="set network.classes: joint, or name a codec with 'encodes: mask'",
        )


def check_image_codec(encodes: str, where: str) -> None:
    """Raise UserError for a codec that is to encode images and does not."""
    if encodes != "image":
        raise UserError(
            f"a codec of images is expected, and this one has 'encodes: {encodes}'",
            where=where,
            remedy="name one with 'encodes: image'",
        )


def check_same_layout(network: LatentNetwork, codec: Autoencoder, channels: int, where: str) -> None:
    """Raise UserError for a condition encoder that is to start as a codec's, of so many latent channels, and cannot."""
    condition = network.condition
    if not isinstance(condition, ConditionEncoder) or condition.init != "codec":
        return
    alike = ("block_out_channels", "layers_per_block", "mid_block_attention")
    pairs = {name: (getattr(condition, name), getattr(codec, name)) for name in alike}
    pairs["latent_channels"] = condition.latent_channels, channels
    differing = [f"{name} {own} against {theirs}" for name, (own, theirs) in pairs.items() if own != theirs]
    if differing:
        raise UserError(
            f"the condition encoder is to start as the codec's, whose layout differs: {', '.join(differing)}",
            where=where,
            remedy="give network.condition the codec's layout and latent_channels, or set its init: random",
        )
