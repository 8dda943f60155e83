"""Losses on masks: hand-computed cases, and that each wants the mask."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from monai.losses import BoundaryLoss, HausdorffDTLoss, TverskyLoss
from torch.nn import functional

from sdseg.config.training import MaskLoss
from sdseg.models.losses import LOSSES, decoded_loss, lovasz_hinge, mask_loss

OF_MASKS = [name for name in get_args(MaskLoss) if name != "ce_2dice"]  # that one is of classes


def given() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and masks of two images and two structures, one of them absent from the second image."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(2, 2, 16, 16)
    masks[0, 0, 3:9, 4:12], masks[0, 1, 5:7, 5:8], masks[1, 0, 8:, 8:] = 1.0, 1.0, 1.0
    return torch.randn(2, 2, 16, 16, generator=generator), masks


def test_every_loss_of_the_recipe_is_there() -> None:
    assert set(LOSSES) == set(OF_MASKS)


def test_the_loss_of_classes_is_cross_entropy_and_twice_dice() -> None:
    """Of one structure drawn as a mask it is that of two classes, inside and outside."""
    logits, masks = given()
    inside, one_hot = logits[:, :1], torch.cat([1 - masks[:, :1], masks[:, :1]], dim=1)
    loss = decoded_loss("ce_2dice", inside.expand(-1, 3, -1, -1), inside, masks[:, :1], None)
    share = torch.cat([torch.sigmoid(-inside), torch.sigmoid(inside)], dim=1)
    both, sums = (share * one_hot).sum(dim=(0, 2, 3)), (share + one_hot).sum(dim=(0, 2, 3))
    expected = functional.binary_cross_entropy(share[:, 1:], masks[:, :1]) + 2 * (1 - 2 * both / sums).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OF_MASKS)
def test_a_step_down_the_gradient_lowers_the_loss_and_the_truth_has_next_to_none(name: MaskLoss) -> None:
    logits, masks = given()
    logits.requires_grad_()
    loss = mask_loss(name, logits, masks)
    loss.backward()
    assert loss.shape == ()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert mask_loss(name, logits.detach() - 0.1 * logits.grad, masks) < loss
    assert mask_loss(name, (masks * 2 - 1) * 20, masks) < 0.05 * loss.detach().abs()


def test_lovasz_is_one_minus_iou_where_errors_are_all_or_none() -> None:
    """Hinge errors of 0 (right, by a margin) and 1 (undecided): the loss is 1 − IoU with the undecided ones wrong."""
    truth = torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0]).view(1, 1, 2, 4)
    sure = truth * 2 - 1
    sure[0, 0, 0, 0] = sure[0, 0, 1, 1] = sure[0, 0, 1, 2] = 0.0  # one miss, two false alarms
    assert lovasz_hinge(sure, truth).item() == pytest.approx(1 - 3 / 6)
    assert lovasz_hinge(truth * 2 - 1, truth).item() == 0.0
    nothing = torch.zeros(1, 1, 2, 4)
    assert lovasz_hinge(nothing - 1.0, nothing).item() == 0.0


def test_distances_count_in_sides_of_the_image() -> None:
    logits, masks = given()
    entropy = functional.binary_cross_entropy_with_logits(logits, masks)
    plain = mask_loss("dice_ce", logits, masks)
    boundary = mask_loss("dice_ce_boundary", logits, masks) - plain
    torch.testing.assert_close(boundary, BoundaryLoss(sigmoid=True)(logits, masks) / 16)
    hausdorff = mask_loss("dice_ce_hausdorff", logits, masks) - plain
    torch.testing.assert_close(
        hausdorff, HausdorffDTLoss(sigmoid=True, include_background=True)(logits, masks) / 256, rtol=1e-4, atol=1e-5
    )
    tversky = mask_loss("tversky_ce", logits, masks) - entropy
    expected = TverskyLoss(sigmoid=True, alpha=0.3, beta=0.7, batch=True)(logits, masks)
    torch.testing.assert_close(tversky, expected, rtol=1e-4, atol=1e-5)
