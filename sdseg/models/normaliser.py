"""The first step of every graph: raw pixel values -> image in [-1,1] with three channels, or those of several files."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from sdseg.artifacts.image_contract import ImageContract

__all__ = ["Normaliser"]

Value = TypeVar("Value", float, Tensor)


class Normaliser(nn.Module):
    """Raw images [N,H,W,C] (uint8 RGB, or HU of any number type) -> float [N,P,H,W] in [-1,1]; patches likewise,
    [N,D,H,W,C] -> [N,P,D,H,W]. The planes P are three, or the named channels of several files.

    The window's two values become −1 and 1; what lies outside is clipped. One grey channel is repeated; of several
    slices all planes of each, one slice after the other. A contract with `train_clip` clips there in training mode, and
    those values then leave [-1,1].
    """

    def __init__(self, contract: ImageContract) -> None:
        super().__init__()
        self.low, self.high = contract.window
        self.train_bounds = tuple(map(self._scaled, contract.train_clip or contract.window))
        self.channels, self.neighbours, self.planes = contract.channels, contract.neighbours, contract.planes

    def forward(self, raw: Tensor) -> Tensor:
        last = raw.ndim - 1
        image = raw.float().permute(0, last, *range(1, last))  # [N,C,…]; first float: in 8 bits not all computes
        low, high = self.train_bounds if self.training else (-1.0, 1.0)
        image = self._scaled(image).clamp(low, high)
        if self.neighbours and self.channels == 1:
            return image.unsqueeze(2).expand(-1, -1, 3, -1, -1).flatten(1, 2)  # [N,3·(2k+1),H,W]; others have P
        return image.expand(-1, 3, *[-1] * (image.ndim - 2)) if self.channels == 1 else image

    def own_slice(self, image: Tensor) -> Tensor:
        """Of what `forward` gives the slice itself, without its neighbours, [N,P,H,W]."""
        planes = self.planes
        return image[:, planes * self.neighbours : planes * (self.neighbours + 1)] if self.neighbours else image

    def as_colours(self, image: Tensor) -> Tensor:
        """Of what `forward` gives three planes of the slice itself, [N,3,H,W], for networks that know colours alone.

        Of more channels the first three, of two the second one twice.
        """
        own = self.own_slice(image)
        return torch.cat([own, own[:, -1:]], dim=1) if self.planes == 2 else own[:, :3]

    def _scaled(self, raw: Value) -> Value:
        return (raw - self.low) * (2.0 / (self.high - self.low)) - 1.0
