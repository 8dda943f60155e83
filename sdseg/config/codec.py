"""Layouts of codecs as values, and how those trained here are trained."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sdseg.core.settings import MANY, UNQUOTED_NO, Place, Seed, Strict, Width

__all__ = ["Autoencoder", "Codec", "CodecTraining", "check_groups", "made_from"]


def check_groups(channels: tuple[int, ...], groups: int) -> None:
    """Raise ValueError for a number of channels that so many groups do not divide."""
    for count in channels:
        if count % groups:
            raise ValueError(f"{count} channels cannot be normalised in {groups} groups ('norm_num_groups')")


class Autoencoder(Strict):
    """Layout of a KL autoencoder (diffusers `AutoencoderKL`); it halves the image once per channel step."""

    block_out_channels: tuple[Width, ...] = Field((128, 256, 512, 512), min_length=2, max_length=12)
    layers_per_block: int = Field(2, ge=1, le=64)
    norm_num_groups: int = Field(32, ge=1, le=65536)
    mid_block_attention: bool = True

    @property
    def factor(self) -> int:
        """How many pixels of the image one latent pixel spans along each axis."""
        return 1 << (len(self.block_out_channels) - 1)

    @model_validator(mode="after")
    def _groups_divide(self) -> Self:
        check_groups(self.block_out_channels, self.norm_num_groups)
        return self


class CodecTraining(Strict):
    """How a codec is trained here; leave out where pretrained weights are given."""

    # 'shapes': random ones, so that one codec serves every dataset; 'dataset': the training split of each dataset
    data: Literal["shapes", "dataset"] = "shapes"
    shapes: float = Field(0.0, ge=0, le=1)  # with 'data: dataset': share of what is learnt that is random shapes
    steps: int = Field(600, ge=1, le=MANY)
    batch: int = Field(16, ge=1, le=65536)
    size: int = Field(64, ge=16, le=8192)  # of 'data: shapes'; a dataset's images have their own
    crop: int | None = Field(None, ge=16, le=8192)  # learn on windows of this size, and on whole masks at the end
    whole: float = Field(0.2, ge=0, le=1)  # with 'crop': the last share of the steps, which learns whole masks
    learning_rate: float = Field(1e-3, gt=0, le=10)
    kl_weight: float = Field(1e-5, ge=0, le=1e6)
    # Of a mask or an image from decode(z). Where a structure covers few pixels, the least l1 is no mask at all: the
    # median; the least l2 is the mean.
    distance: Literal["l1", "l2"] = "l1"
    # Of the classes of a label map in its cross entropy: equal, or as many times the most frequent one's weight as
    # a class is rarer than it among the training pixels, at most `class_weight_cap` times.
    class_weights: Literal["none", "inverse_frequency"] = "none"
    class_weight_cap: float = Field(20.0, ge=1, le=1e6)
    dice_weight: float = Field(0.0, ge=0, le=1e6)  # of the soft Dice loss of the classes, beside that cross entropy
    # auto: bf16 where the machine that begins is faster in it
    precision: Annotated[Literal["no", "bf16", "auto"], UNQUOTED_NO] = "no"
    seed: Seed = 0

    @model_validator(mode="after")
    def _shapes_are_mixed_in(self) -> Self:
        if self.shapes and self.data == "shapes":
            raise ValueError("'shapes' is a share of 'data: dataset'; with 'data: shapes' all are; leave it out")
        if self.crop is not None and self.data == "shapes" and self.crop > self.size:
            raise ValueError(f"'crop: {self.crop}' does not fit into shapes of 'size: {self.size}'; make it smaller")
        return self


class Codec(Autoencoder):
    """A frozen autoencoder (KL-f8 at the paper's scale); where one is to be made, `made_from` is checked too."""

    # 'mask': one structure's mask, as an image; 'labels': the whole label map of a dataset, a class per pixel; 'image':
    # what is segmented, for `network.condition.codec`
    encodes: Literal["mask", "labels", "image"] = "mask"
    latent_channels: int = Field(4, ge=1, le=1024)
    weights: Place | None = None  # folder with config.json and *.safetensors of a diffusers AutoencoderKL
    training: CodecTraining | None = None
    # 0.18215 is Stable Diffusion's own.
    latent_scale: Annotated[float, Field(gt=0, le=1e6)] | Literal["measured"] = "measured"

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.weights is not None and self.training is not None and self.encodes != "labels":
            raise ValueError("give either 'weights' (a pretrained codec) or 'training' (one trained here), not both")
        if self.training is not None and self.training.class_weights != "none" and self.encodes != "labels":
            raise ValueError("'training.class_weights' weighs the classes of a label map; set 'encodes: labels'")
        if self.training is not None and self.training.distance != "l1" and self.encodes == "labels":
            raise ValueError(
                "'training.distance' is of masks and images; label maps learn by cross entropy; leave it out"
            )
        if self.training is not None and self.training.dice_weight and self.encodes != "labels":
            raise ValueError("'training.dice_weight' is of the classes of a label map; set 'encodes: labels'")
        if self.training is not None and self.training.shapes and self.encodes == "image":
            raise ValueError("'training.shapes' are masks, and 'encodes: image' learns images; leave it out")
        return self

    @property
    def of_dataset(self) -> bool:
        """Whether it is trained on a dataset, so that each has its own; else one serves all."""
        return self.training is not None and self.training.data == "dataset"


def made_from(codec: Codec) -> Codec:
    """The codec's settings themselves. Raises ValueError where they are a layout alone and say not how it is made."""
    if codec.encodes == "labels" and not codec.of_dataset:
        raise ValueError(
            "'encodes: labels' learns the classes of a dataset; give 'training' with 'data: dataset' "
            "('weights' beside it are where it starts)"
        )
    if codec.encodes == "image" and codec.training is not None and not codec.of_dataset:
        raise ValueError("'encodes: image' learns from a dataset; give 'training' with 'data: dataset', or 'weights'")
    if codec.encodes == "image" and codec.training is None and codec.latent_scale == "measured":
        raise ValueError(
            "pretrained 'weights' of 'encodes: image' see no image before training, on which their scale could be "
            "measured; give 'latent_scale', such as Stable Diffusion's own 0.18215"
        )
    if codec.weights is None and codec.training is None:
        raise ValueError(
            "the codec is a layout alone: give either 'weights' (a pretrained codec) or 'training' (one trained here)"
        )
    return codec
