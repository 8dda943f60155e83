"""Edges for the decoded mask: a correction at full size, from the condition encoder's finer levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdseg.models.unet_blocks import ConvolutionPair

__all__ = ["WIDTH", "MaskRefinement"]

WIDTH = 16  # channels it works in: few, since it works at full size


class MaskRefinement(nn.Module):
    """What a coarse latent cannot hold, added to what the decoder makes of it.

    Features of all levels come together at full size, the coarser ones enlarged; two 3×3 convolutions see them beside
    the decoded mask, and a 1×1 convolution that starts at zero gives the correction: at first nothing is changed.
    """

    def __init__(self, channels: Sequence[int], maps: int = 1) -> None:
        """`channels` of the encoder's levels that are finer than the latent, the one at full size first.

        `maps` are corrected, each by itself: 1 of a decoded mask, whose channels mean the same, or a logit per class.
        """
        super().__init__()
        self.lateral = nn.ModuleList([nn.Conv2d(count, WIDTH, 1) for count in channels])
        self.convolutions = ConvolutionPair(WIDTH + maps, WIDTH)
        self.correction = nn.Conv2d(WIDTH, maps, 1)
        self.maps = maps
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)  # type: ignore[arg-type]

    def forward(self, decoded: Tensor, levels: Sequence[Tensor]) -> Tensor:
        """Decoded masks [N,3,H,W] (or logits of classes), corrected, with features of their images.

        Those are [N,C,H,W], [N,C',H/2,W/2], …
        """
        merged: Tensor = self.lateral[-1](levels[-1])
        for lateral, features in zip(reversed(self.lateral[:-1]), reversed(levels[:-1]), strict=True):
            merged = lateral(features) + functional.interpolate(merged, scale_factor=2.0)
        seen = decoded.mean(dim=1, keepdim=True) if self.maps == 1 else decoded
        stacked = torch.cat([merged, seen], dim=1)  # [N,W+M,H,W]
        correction: Tensor = self.correction(self.convolutions(stacked))  # [N,M,H,W]
        return decoded + correction
