"""The two-dimensional blocks of U-Nets that latent recipes are built of, with MONAI's names of weights.

They are MONAI's `TwoConv`, `Down`, `UnetBasicBlock` and `UnetUpBlock` to the bit, weights drawn alike included, without
its import, which costs every command that opens a model more than two seconds. `tests/models/test_unet_blocks.py` holds
them to it.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

__all__ = ["ConvolutionPair", "NormalisedPair", "PooledPair", "UpsamplingBlock"]


class _ConvNormActivation(nn.Sequential):
    """3×3 convolution, instance norm, dropout, LeakyReLU: [N,C,H,W] -> [N,M,H,W]."""

    def __init__(self, entering: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(entering, channels, 3, padding=1)
        self.adn = nn.Sequential(
            OrderedDict(
                N=nn.InstanceNorm2d(channels, affine=True), D=nn.Dropout(dropout), A=nn.LeakyReLU(0.1, inplace=True)
            )
        )


class ConvolutionPair(nn.Sequential):
    """The two convolutions of a level of `BasicUNet`: [N,C,H,W] -> [N,M,H,W]."""

    def __init__(self, entering: int, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv_0 = _ConvNormActivation(entering, channels, dropout)
        self.conv_1 = _ConvNormActivation(channels, channels, dropout)


class PooledPair(nn.Sequential):
    """The largest of every 2×2 pixels, and two convolutions: [N,C,H,W] -> [N,M,H/2,W/2]."""

    def __init__(self, entering: int, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.max_pooling = nn.MaxPool2d(2)
        self.convs = ConvolutionPair(entering, channels, dropout)


class NormalisedPair(nn.Module):
    """nnU-Net's block: twice a 3×3 convolution, instance norm and LeakyReLU; [N,C,H,W] -> [N,M,H/stride,W/stride]."""

    def __init__(self, entering: int, channels: int, stride: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1 = _dropped(nn.Conv2d(entering, channels, 3, stride, padding=1, bias=False), dropout)
        self.conv2 = _dropped(nn.Conv2d(channels, channels, 3, padding=1, bias=False), dropout)
        self.lrelu = nn.LeakyReLU(0.01, inplace=True)
        self.norm1 = nn.InstanceNorm2d(channels, affine=True)
        self.norm2 = nn.InstanceNorm2d(channels, affine=True)

    def forward(self, features: Tensor) -> Tensor:
        once = self.lrelu(self.norm1(self.conv1(features)))
        twice: Tensor = self.lrelu(self.norm2(self.conv2(once)))
        return twice


class UpsamplingBlock(nn.Module):
    """Features enlarged twice by a transposed convolution, and nnU-Net's block on them and those of the way down."""

    def __init__(self, entering: int, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.transp_conv = _dropped(nn.ConvTranspose2d(entering, channels, 2, stride=2, bias=False), dropout)
        self.conv_block = NormalisedPair(2 * channels, channels, dropout=dropout)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """[N,C,H,W] and [N,M,2H,2W] -> [N,M,2H,2W]."""
        enlarged: Tensor = self.conv_block(torch.cat((self.transp_conv(features), skip), dim=1))
        return enlarged


def _dropped(convolution: nn.Module, dropout: float) -> nn.Sequential:
    """The convolution under MONAI's name, with dropout after it where there is any."""
    parts = OrderedDict(conv=convolution)
    if dropout:
        parts["adn"] = nn.Sequential(OrderedDict(D=nn.Dropout(dropout)))
    return nn.Sequential(parts)
