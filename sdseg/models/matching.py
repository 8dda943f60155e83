"""How far a student is from its teacher: condition latent, estimate of z_0, probability, each a loss of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional

from sdseg.config.trained_models import Distillation

__all__ = ["TeacherAnswer", "taught_losses"]


@dataclass(frozen=True)
class TeacherAnswer:
    """What a frozen model makes of a batch of images; None where it has no such thing, or nobody learns from it."""

    probability: Tensor | None  # [N,1,H,W] of the structure that a sample trains, or [N,K,H,W] of all
    condition: Tensor | None = None  # z_c [N,c',h,w]
    latent: Tensor | None = None  # its estimate of z_0, [N,c,h,w], scaled


def taught_losses(
    wanted: Distillation,
    teacher: TeacherAnswer,
    *,
    condition: Tensor | None = None,
    latent: Tensor | None = None,
    logits: Tensor | None = None,
    distance: Literal["l1", "l2"] = "l2",
) -> dict[str, Tensor]:
    """Weighted terms, scalars, between what the student has and the teacher's; only those with a weight.

    `condition` and `latent` as of `TeacherAnswer`, `logits` those of its probability; `distance` that of latents.
    """
    terms: dict[str, Tensor] = {}
    if wanted.condition and condition is not None and teacher.condition is not None:
        terms["taught_condition"] = wanted.condition * _share_of_variance(condition, teacher.condition)
    if wanted.latent and latent is not None and teacher.latent is not None:
        function = functional.l1_loss if distance == "l1" else functional.mse_loss
        terms["taught_latent"] = wanted.latent * function(latent.float(), teacher.latent.float())
    if wanted.probability and logits is not None and teacher.probability is not None:
        soft = functional.binary_cross_entropy_with_logits(logits.float(), teacher.probability.float())
        terms["taught_probability"] = wanted.probability * soft
    return terms


def _share_of_variance(own: Tensor, teacher: Tensor) -> Tensor:
    """Mean square between condition latents [N,c',h,w], as a share of the teacher's variance.

    Nothing holds these latents to a scale: a mean square by itself would weigh otherwise for each teacher.
    """
    teacher = teacher.float()
    return functional.mse_loss(own.float(), teacher) / teacher.var().clamp(min=1e-6)
