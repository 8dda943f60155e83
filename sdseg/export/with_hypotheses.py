"""A network whose graph gives its hypotheses beside their mean."""

from __future__ import annotations

from torch import Tensor, nn

from sdseg.core.errors import UserError
from sdseg.models.segmenter import Segmenter

__all__ = ["WithHypotheses", "count_hypotheses"]


class WithHypotheses(nn.Module):
    """Raw images [N,H,W,C] and noise -> the probability [N,K,H,W], and the hypotheses [N,S,K,H,W] it is the mean of."""

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.eval()

    def forward(self, image: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        hypotheses: Tensor = self.segmenter.hypotheses(image, noise)  # type: ignore[operator]
        return hypotheses.mean(dim=1), hypotheses


def count_hypotheses(segmenter: Segmenter, size: int, channels: int) -> int:
    """How many hypotheses S of an image a segmenter gives. Raises UserError for one that starts from no noise."""
    import torch

    if segmenter.noise_shape is None:
        raise UserError(
            "the recipe starts from no noise: it has one answer to an image, and no hypotheses",
            where="export.hypotheses",
            remedy="leave it out, or train a recipe with 'inference_noise: gaussian' and 'inference.samples' above 1",
        )
    with torch.inference_mode():
        example = segmenter.hypotheses(torch.zeros(1, size, size, channels), torch.zeros(1, *segmenter.noise_shape))
    return int(example.shape[1])
