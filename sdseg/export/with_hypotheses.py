"""A network whose graph gives its hypotheses beside their mean."""

from __future__ import annotations

from torch import Tensor, nn

from sdseg.core.errors import UserError
from sdseg.models.equal_shares import UNEQUAL
from sdseg.models.segmenter import Segmenter

__all__ = ["WithHypotheses", "count_hypotheses", "no_hypotheses"]


class WithHypotheses(nn.Module):
    """Raw images [N,H,W,C] and noise -> the probability [N,K,H,W], and the hypotheses [N,S,K,H,W] it is the mean of."""

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.eval()

    def forward(self, image: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        hypotheses: Tensor = self.segmenter.hypotheses(image, noise)  # type: ignore[operator]
        return hypotheses.mean(dim=1), hypotheses


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
