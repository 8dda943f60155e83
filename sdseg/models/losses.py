"""Losses on mask logits: of direct networks, and of latent models trained through the decoder.

None is MONAI's `DiceCELoss`: its cross entropy lets several channels compete, but structures may lie within each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sdseg.config.training import MaskLoss
from sdseg.models.label_classes import LabelClasses

__all__ = ["LOSSES", "class_loss", "decoded_loss", "lovasz_hinge", "mask_loss", "reduced"]


def mask_loss(name: MaskLoss, logits: Tensor, masks: Tensor) -> Tensor:
    """One of LOSSES, of logits and masks in {0,1}, [N,K,H,W] or of volumes [N,K,D,H,W]; a scalar."""
    return LOSSES[name](logits, masks.float())


def decoded_loss(
    name: MaskLoss, decoded: Tensor, logits: Tensor, masks: Tensor, classes: LabelClasses | None
) -> Tensor:
    """The loss of what a decoder gives, `decoded`, with the logits [N,K,H,W] of structures that follow from it.

    With `classes` it gives theirs, [N,C,H,W]; None of a single mask. `masks` [N,K,H,W] are those that the latent holds.
    """
    if name != "ce_2dice":
        return mask_loss(name, logits, masks)
    if classes is None:  # outside and inside, as two classes
        classes, decoded = LabelClasses.separate(1), torch.cat([torch.zeros_like(logits), logits], dim=1)
    return class_loss(decoded.float(), classes.one_hot(masks), dice_weight=2.0)


def class_loss(
    logits: Tensor, one_hot: Tensor, *, dice_weight: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Cross entropy of classes [N,C,H,W], and so many times their mean soft Dice loss, the background included."""
    loss = functional.cross_entropy(logits, one_hot.argmax(dim=1), class_weights)
    if dice_weight:
        from monai.losses.dice import DiceLoss  # MONAI takes seconds to import

        loss = loss + dice_weight * DiceLoss(softmax=True, batch=True)(logits, one_hot)
    return loss


def reduced(masks: Tensor, shape: Sequence[int]) -> Tensor:
    """Masks [N,K,H,W] at `shape` (H', W'), each pixel the nearest of the original, as nnU-Net does for its coarser
    heads; those of volumes with D.
    """
    return masks if masks.shape[2:] == tuple(shape) else functional.interpolate(masks.float(), size=tuple(shape))


def lovasz_hinge(logits: Tensor, truth: Tensor) -> Tensor:
    """The Lovász extension of 1 − IoU at hinge errors (arXiv 1705.08790), the mean over images and structures."""
    flat, labels = logits.flatten(2), truth.flatten(2)  # [N,K,P]
    errors, order = torch.sort(1.0 - flat * (2.0 * labels - 1.0), dim=2, descending=True)
    labels = labels.gather(2, order)
    inside = labels.sum(dim=2, keepdim=True)
    # Of the pixels with the largest errors, taken for wrong one after the other, what 1 − IoU becomes …
    loss = 1.0 - (inside - labels.cumsum(dim=2)) / (inside + (1.0 - labels).cumsum(dim=2)).clamp(min=1.0)
    growth = torch.cat([loss[..., :1], loss[..., 1:] - loss[..., :-1]], dim=2)  # … and by how much each makes it grow
    return (functional.relu(errors) * growth).sum(dim=2).mean()


def _dice(logits: Tensor, truth: Tensor) -> Tensor:
    """Per structure, over the whole batch."""
    from monai.losses.dice import DiceLoss  # MONAI takes seconds to import

    loss: Tensor = DiceLoss(sigmoid=True, batch=True)(logits, truth)
    return loss


def _tversky(logits: Tensor, truth: Tensor) -> Tensor:
    """Overlap in which a missed pixel counts 0.7 and a false alarm 0.3 (arXiv 1706.05721)."""
    from monai.losses.tversky import TverskyLoss

    loss: Tensor = TverskyLoss(sigmoid=True, alpha=0.3, beta=0.7, batch=True)(logits, truth)
    return loss


def _focal(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy, each pixel weighted by (1 − p)² of its true label (arXiv 1708.02002)."""
    from monai.losses.focal_loss import FocalLoss

    loss: Tensor = FocalLoss(gamma=2.0)(logits, truth)
    return loss


def _boundary(logits: Tensor, truth: Tensor) -> Tensor:
    """Probability times the signed distance from the true outline, in sides of the image (arXiv 1812.07032)."""
    from monai.losses.boundary_loss import BoundaryLoss

    loss: Tensor = BoundaryLoss(sigmoid=True)(logits, truth)
    return loss / logits.shape[-1]


def _hausdorff(logits: Tensor, truth: Tensor) -> Tensor:
    """Squared error times the squared distances from both outlines, in sides of the image (arXiv 1904.10030)."""
    from monai.losses.hausdorff_loss import HausdorffDTLoss

    loss: Tensor = HausdorffDTLoss(sigmoid=True, include_background=True)(logits, truth)
    return loss / logits.shape[-1] ** 2


_cross_entropy = functional.binary_cross_entropy_with_logits

LOSSES: dict[MaskLoss, Callable[[Tensor, Tensor], Tensor]] = {
    "dice_ce": lambda logits, truth: _dice(logits, truth) + _cross_entropy(logits, truth),
    "dice_focal": lambda logits, truth: _dice(logits, truth) + _focal(logits, truth),
    "tversky_ce": lambda logits, truth: _tversky(logits, truth) + _cross_entropy(logits, truth),
    "lovasz_ce": lambda logits, truth: lovasz_hinge(logits, truth) + _cross_entropy(logits, truth),
    "dice_ce_boundary": lambda logits, truth: (
        _dice(logits, truth) + _cross_entropy(logits, truth) + _boundary(logits, truth)
    ),
    "dice_ce_hausdorff": lambda logits, truth: (
        _dice(logits, truth) + _cross_entropy(logits, truth) + _hausdorff(logits, truth)
    ),
}
