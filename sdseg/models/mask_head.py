"""A few convolutions in place of the codec's decoder: latent -> logits, which need no image of the mask in between."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from sdseg.config.network import MaskHead
from sdseg.models.label_classes import LabelClasses

__all__ = ["ConvolutionalHead"]


class ConvolutionalHead(nn.Module):
    """Scaled latents [N,c,h,w] -> logits [N,1,H,W] of the mask, or of every class of a label map.

    One 3×3 convolution a level, from the latent's own size on, each level twice as large as the one before; where the
    last one is smaller than the image, its logits are enlarged (bilinear). Nothing is normalised: the latents of an
    empty and of a full mask are constant maps, which instance norm could not tell apart.
    """

    def __init__(
        self,
        settings: MaskHead,
        latent_channels: int,
        factor: int,
        scale: float,
        classes: LabelClasses | None = None,
    ) -> None:
        """`factor`: pixels of the image along an axis that one of the latent spans; `scale`: that of its codec."""
        super().__init__()
        self.latent_channels, self.scale, self.classes = latent_channels, scale, classes
        channels = settings.channels
        self.enlarged = factor >> (len(channels) - 1)  # how many times, by interpolation, at the end
        self.levels = nn.ModuleList(
            nn.Conv2d(before, count, 3, padding=1) for before, count in pairwise((latent_channels, *channels))
        )
        self.output = nn.Conv2d(channels[-1], 1 if classes is None else classes.count, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        current = latents
        for level, convolution in enumerate(self.levels):
            if level:
                current = functional.interpolate(current, scale_factor=2.0)
            current = functional.leaky_relu(convolution(current), 0.1)
        logits: Tensor = self.output(current)
        if self.enlarged > 1:
            logits = functional.interpolate(logits, scale_factor=float(self.enlarged), mode="bilinear")
        return logits

    def logits(self, decoded: Tensor) -> Tensor:
        """Of what `forward` gives the logits of every structure, [N,1 or K,H,W]."""
        return decoded.float() if self.classes is None else self.classes.logits(decoded)

    def probability(self, decoded: Tensor) -> Tensor:
        """The same as probability."""
        return decoded.sigmoid() if self.classes is None else self.classes.probability(decoded)
