"""Layouts of the networks that go from image to mask directly: the U-Nets every other recipe is held against."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from sdseg.config.patches import Extent, Spacing, levels_of
from sdseg.core.settings import Strict, Width, architecture_of

__all__ = ["AnyDirectNetwork", "BasicUnet", "DirectNetwork", "DynUnet", "ResidualUnet"]


class DirectNetwork(Strict):
    """What the architectures have in common: `channels` per level, the image halved between one and the next."""

    kind: Literal["direct"]
    architecture: str
    channels: tuple[Width, ...]
    norm: Literal["instance", "batch"] = "instance"
    dropout: float = Field(0.0, ge=0, lt=1)

    @property
    def factor(self) -> int:
        """How many pixels of the image one pixel of the coarsest level spans along each axis."""
        return 1 << (len(self.channels) - 1)


class ResidualUnet(DirectNetwork):
    """MONAI's `UNet`: residual units, and strided convolutions, so that its first level works at half the size."""

    architecture: Literal["unet"] = "unet"
    channels: tuple[Width, ...] = Field((32, 64, 128, 256, 512), min_length=2, max_length=12)
    residual_units: int = Field(2, ge=0, le=64)


class BasicUnet(DirectNetwork):
    """MONAI's `BasicUNet`, the classic one: two convolutions a level from full size on, max pooling between."""

    architecture: Literal["basic-unet"]
    channels: tuple[Width, ...] = Field((32, 64, 128, 256, 512), min_length=5, max_length=5)


class DynUnet(DirectNetwork):
    """MONAI's `DynUNet`, which is nnU-Net's: as the classic one, with strided convolutions for the pooling.

    With `deep_supervision` the levels at half and quarter size are taught as well, each by a head of its own: the
    losses count 1 : 1/2 : 1/4. The heads are left out of the model.

    With `dimensions: 3` it sees patches of volumes. Kernels and strides follow the `spacing` of voxels, in mm along the
    depth, height and width; left out, that of the training volumes (their median), which the model then records.
    """

    architecture: Literal["dynunet"]
    dimensions: Literal[2, 3] = Field(2, exclude_if=lambda count: count == 2)
    spacing: Spacing | None = Field(None, exclude_if=lambda lengths: lengths is None)
    channels: tuple[Width, ...] = Field((32, 64, 128, 256, 512, 512), min_length=3, max_length=12)
    deep_supervision: bool = False

    @property
    def heads(self) -> int:
        """How many levels below full size are taught: two, where there are as many between top and bottom."""
        return min(2, len(self.channels) - 2) if self.deep_supervision else 0

    def levels(self, size: Extent) -> tuple[list[Extent], list[Extent]]:
        """Kernels and strides of every level on patches of `size`. Raises ValueError where they are too small."""
        return levels_of(size, self.spacing or (1.0, 1.0, 1.0), len(self.channels))

    @model_validator(mode="after")
    def _spacing_is_of_volumes(self) -> Self:
        if self.dimensions == 2 and self.spacing is not None:
            raise ValueError("'spacing' is that of volumes; set 'dimensions: 3', or leave it out")
        return self


AnyDirectNetwork = Annotated[
    Annotated[ResidualUnet, Tag("architecture: unet")]
    | Annotated[BasicUnet, Tag("architecture: basic-unet")]
    | Annotated[DynUnet, Tag("architecture: dynunet")],
    Discriminator(architecture_of("unet")),
]
