"""Dice and cross entropy on mask logits: the loss of the baseline, and of latent models trained through the decoder."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["mask_loss", "reduced"]


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Dice (per structure, over the whole batch) + binary cross entropy, of logits and masks [N,K,H,W]; a scalar.

    Not MONAI's `DiceCELoss`: its cross entropy lets several channels compete, but structures may lie within each other.
    """
    from monai.losses.dice import DiceLoss  # MONAI takes seconds to import

    truth = masks.float()
    dice: Tensor = DiceLoss(sigmoid=True, batch=True)(logits, truth)
    return dice + functional.binary_cross_entropy_with_logits(logits, truth)


def reduced(masks: Tensor, side: int) -> Tensor:
    """Masks [N,K,H,W] at `side`² pixels, each the nearest of the original, as nnU-Net does for its coarser heads."""
    return masks if masks.shape[-1] == side else functional.interpolate(masks.float(), size=(side, side))
