"""Layouts of the networks that go from image to mask directly: the U-Nets every other recipe is held against."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

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
    """

    architecture: Literal["dynunet"]
    channels: tuple[Width, ...] = Field((32, 64, 128, 256, 512, 512), min_length=3, max_length=12)
    deep_supervision: bool = False

    @property
    def heads(self) -> int:
        """How many levels below full size are taught: two, where there are as many between top and bottom."""
        return min(2, len(self.channels) - 2) if self.deep_supervision else 0


AnyDirectNetwork = Annotated[
    Annotated[ResidualUnet, Tag("architecture: unet")]
    | Annotated[BasicUnet, Tag("architecture: basic-unet")]
    | Annotated[DynUnet, Tag("architecture: dynunet")],
    Discriminator(architecture_of("unet")),
]
