"""The U-Nets of direct recipes, from MONAI: image, or patch of a volume, to one logit per structure."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sdseg.config.direct_network import AnyDirectNetwork, BasicUnet, DynUnet, ResidualUnet
from sdseg.config.patches import Extent

__all__ = ["DeepSupervision", "NnUnet", "build_unet"]


def build_unet(settings: AnyDirectNetwork, structures: int, patch: Extent | None = None, planes: int = 3) -> nn.Module:
    """Images [N,P,H,W] in [-1,1] -> logits [N,K,H,W]; with a `patch` of volumes both have an axis D before H.

    `planes` P: three, or as many as the images have named channels.
    """
    if isinstance(settings, DynUnet):
        return NnUnet(settings, structures, patch, planes)
    if isinstance(settings, BasicUnet):
        return _basic_unet(settings, structures, planes)
    return _residual_unet(settings, structures, planes)


def _residual_unet(settings: ResidualUnet, structures: int, planes: int) -> nn.Module:
    from monai.networks.nets.unet import UNet  # MONAI takes seconds to import

    return UNet(
        spatial_dims=2,
        in_channels=planes,
        out_channels=structures,
        channels=settings.channels,
        strides=(2,) * (len(settings.channels) - 1),
        num_res_units=settings.residual_units,
        norm=settings.norm,
        dropout=settings.dropout,
    )


def _basic_unet(settings: BasicUnet, structures: int, planes: int) -> nn.Module:
    from monai.networks.nets.basic_unet import BasicUNet

    return BasicUNet(
        spatial_dims=2,
        in_channels=planes,
        out_channels=structures,
        features=(*settings.channels, settings.channels[0]),  # the last one: after the last step up
        norm=(settings.norm, {"affine": True}),
        dropout=settings.dropout,
    )


class NnUnet(nn.Module):
    """The parts of MONAI's `DynUNet`, run one after the other.

    MONAI's own forward goes through a chain of modules that holds every part a second time, under a second name: the
    weights would be stored twice.
    """

    def __init__(self, settings: DynUnet, structures: int, patch: Extent | None = None, planes: int = 3) -> None:
        super().__init__()
        from monai.networks.nets.dynunet import DynUNet

        levels = len(settings.channels)
        kernels: Sequence[int | Extent] = [3] * levels
        strides: Sequence[int | Extent] = [1] + [2] * (levels - 1)
        if patch is not None:
            kernels, strides = settings.levels(patch)
        whole = DynUNet(
            spatial_dims=settings.dimensions,
            in_channels=planes,
            out_channels=structures,
            kernel_size=kernels,
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=settings.channels,
            dropout=settings.dropout or None,
            norm_name=(settings.norm, {"affine": True}),
        )
        self.down = nn.ModuleList([whole.input_block, *whole.downsamples, whole.bottleneck])
        self.up = whole.upsamples  # coarsest first
        self.output = whole.output_block

    def levels(self, image: Tensor) -> list[Tensor]:
        """Features of every level on the way up, finest first: [N,C,H,W], [N,C',H/2,W/2], …; of volumes with D."""
        skips: list[Tensor] = []
        current = image
        for block in self.down:
            current = block(current)
            skips.append(current)
        features = [skips.pop()]
        for block in self.up:
            features.insert(0, block(features[0], skips.pop()))
        return features

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.output(self.levels(image)[0])
        return logits


class DeepSupervision(nn.Module):
    """Heads on the levels below the finest one, which are taught as well (nnU-Net); training alone has them."""

    def __init__(self, settings: DynUnet, structures: int) -> None:
        super().__init__()
        level_channels = settings.channels[1 : settings.heads + 1]
        layer = nn.Conv2d if settings.dimensions == 2 else nn.Conv3d
        self.heads = nn.ModuleList([layer(channels, structures, 1) for channels in level_channels])

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Logits [N,K,H/2,W/2], [N,K,H/4,W/4] of the features of every level, finest first."""
        return [head(features) for head, features in zip(self.heads, levels[1:], strict=False)]
