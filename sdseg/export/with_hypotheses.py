"""A network whose graph gives its hypotheses beside their mean, and how far they agree."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdseg.core.errors import UserError
from sdseg.models.equal_shares import UNEQUAL
from sdseg.models.segmenter import Segmenter

__all__ = ["WithHypotheses", "count_hypotheses", "no_hypotheses"]


TINY = 1e-12  # keeps the logarithm of 0 finite; as a limit, since an exporter takes what is added to be 0 and drops it


class WithHypotheses(nn.Module):
    """Raw images [N,H,W,C] and noise -> the outputs that `graph_outputs` names, in that order.

    The probability [N,K,H,W], its variance and entropy (metrics/uncertainty.py) in each pixel, of the same shape, and
    the hypotheses [N,S,K,H,W] that all three are of.
    """

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.eval()

    def forward(self, image: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        hypotheses: Tensor = self.segmenter.hypotheses(image, noise)  # type: ignore[operator]
        mean = hypotheses.mean(dim=1)
        return mean, (hypotheses - mean.unsqueeze(1)).square().mean(dim=1), _entropy(mean), hypotheses


def _entropy(probability: Tensor) -> Tensor:
    """In nats; without branches, which a graph would hold as masks."""
    inside = probability.clamp(0.0, 1.0)  # a mean of ones may be rounded up
    outside = 1.0 - inside
    terms = inside * torch.log(inside.clamp(min=TINY)) + outside * torch.log(outside.clamp(min=TINY))
    return 0.0 - terms.clamp(max=0.0)


def no_hypotheses(segmenter: Segmenter) -> str | None:
    """Why a segmenter has no hypotheses; None where it has."""
    if segmenter.noise_shape is None:
        return "the recipe starts from no noise: it has one answer to an image, and no hypotheses"
    return None if segmenter.samples else UNEQUAL


def count_hypotheses(segmenter: Segmenter) -> int:
    """How many hypotheses S of an image a segmenter gives. Raises UserError for one that has none."""
    if reason := no_hypotheses(segmenter):
        raise UserError(
            reason,
            where="export.hypotheses",
            remedy="leave it out, or train a recipe with 'inference_noise: gaussian' and 'inference.samples' above 1",
        )
    return segmenter.samples
