"""The networks that LDSeg trains as one (arXiv 2407.12952), in two or three dimensions, of MONAI's blocks."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from sdseg.config.end_to_end_network import EndToEndNetwork
from sdseg.models.sampling import standardised
from sdseg.models.spatial_unet import SelfAttention

__all__ = ["ImageCondition", "LabelDecoder", "LabelEncoder"]

SWISH = "swish"


class LabelEncoder(nn.Module):
    """Label map, one-hot [N,C,…] -> latent [N,c,…/f] with zero mean and unit deviation in every case.

    Max pooling halves in two dimensions, strided convolutions in three.
    """

    def __init__(self, network: EndToEndNetwork, classes: int) -> None:
        super().__init__()
        from monai.networks.layers.factories import Conv, Pool  # MONAI takes seconds to import

        layout, dimensions = network.label_encoder, network.dimensions
        self.index = layout.input == "index"
        current = 1 if self.index else classes
        levels: list[nn.Module] = []
        for level, count in enumerate(layout.channels):
            if level and dimensions == 2:
                levels.append(Pool[Pool.MAX, dimensions](2))
            strided = 2 if level and dimensions == 3 else 1
            levels.append(_residual(network, current, count, layout.dropout, strided))
            current = count
        self.levels = nn.Sequential(*levels)
        self.latent = Conv[Conv.CONV, dimensions](current, network.latent_channels, 1)

    def forward(self, classes: Tensor) -> Tensor:
        seen = classes.argmax(dim=1, keepdim=True).to(classes.dtype) if self.index else classes
        return standardised(self.latent(self.levels(seen)).float())


class ImageCondition(nn.Module):
    """Image [N,P,…] in [-1,1] -> condition latent [N,c',…/f]."""

    def __init__(self, network: EndToEndNetwork, planes: int = 3) -> None:
        super().__init__()
        from monai.networks.blocks.convolutions import Convolution
        from monai.networks.layers.factories import Act, Conv

        layout, dimensions, groups = network.image_encoder, network.dimensions, network.norm_num_groups
        levels: list[nn.Module] = []
        current = planes
        for level, count in enumerate(layout.channels):
            norm = _group(groups) if level else None
            levels.append(Convolution(dimensions, current, count, 2 if level else 1, act=SWISH, norm=norm))
            if layout.attention[level]:
                levels.append(SelfAttention(count, layout.heads, groups))
            current = count
        self.levels = nn.Sequential(*levels)
        self.latent = Conv[Conv.CONV, dimensions](current, layout.latent_channels, 1)
        self.last = nn.Sequential(Act[Act.SWISH](), _norm(network, layout.latent_channels, groups=1))

    def forward(self, image: Tensor) -> Tensor:
        condition: Tensor = self.last(self.latent(self.levels(image)))
        return condition


class LabelDecoder(nn.Module):
    """Latent [N,c,…/f] -> logits of the classes [N,C,…]."""

    def __init__(self, network: EndToEndNetwork, classes: int) -> None:
        super().__init__()
        from monai.networks.blocks.convolutions import Convolution
        from monai.networks.layers.factories import Conv

        dimensions, current = network.dimensions, network.latent_channels
        levels: list[nn.Module] = []
        for count in network.label_decoder.channels:
            levels.append(Convolution(dimensions, current, count, 2, is_transposed=True, conv_only=True))
            levels.append(_residual(network, count, count, 0.0))
            current = count
        self.levels = nn.Sequential(*levels)
        self.logits: nn.Module = Conv[Conv.CONV, dimensions](current, classes, 1)
        if network.norm == "batch":
            self.logits = nn.Sequential(self.logits, _norm(network, classes))

    def forward(self, latent: Tensor) -> Tensor:
        logits: Tensor = self.logits(self.levels(latent))
        return logits


def _residual(network: EndToEndNetwork, inputs: int, outputs: int, dropout: float, strides: int = 1) -> nn.Module:
    """Twice convolution, normalisation, dropout and swish, beside a 1×1 convolution where the channels change."""
    from monai.networks.blocks.convolutions import ResidualUnit

    norm: Any = "batch" if network.norm == "batch" else _group(network.norm_num_groups)
    return ResidualUnit(network.dimensions, inputs, outputs, strides, act=SWISH, norm=norm, dropout=dropout or None)


def _group(groups: int) -> tuple[str, dict[str, int]]:
    return "group", {"num_groups": groups}


def _norm(network: EndToEndNetwork, channels: int, groups: int | None = None) -> nn.Module:
    from monai.networks.layers.utils import get_norm_layer

    norm: Any = "batch" if network.norm == "batch" else _group(groups or network.norm_num_groups)
    layer: nn.Module = get_norm_layer(norm, spatial_dims=network.dimensions, channels=channels)
    return layer
