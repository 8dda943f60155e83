"""The first step of every graph: raw pixel values -> image in [-1,1] with three channels."""

from __future__ import annotations

from torch import Tensor, nn

from sdseg.artifacts import ImageContract

__all__ = ["Normaliser"]


class Normaliser(nn.Module):
    """Raw images [N,H,W,C] (uint8 RGB, or HU of any number type) -> float [N,3,H,W] in [-1,1].

    The window's two values become −1 and 1; what lies outside is clipped. One grey channel is repeated.
    """

    def __init__(self, contract: ImageContract) -> None:
        super().__init__()
        self.low, self.high = contract.window
        self.channels = contract.channels

    def forward(self, raw: Tensor) -> Tensor:
        image = raw.permute(0, 3, 1, 2).float()  # [N,C,H,W]
        image = ((image - self.low) * (2.0 / (self.high - self.low)) - 1.0).clamp(-1.0, 1.0)
        return image.expand(-1, 3, -1, -1) if self.channels == 1 else image
