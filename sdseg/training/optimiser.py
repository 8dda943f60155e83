"""Optimiser, learning rate and weight averaging of a run, each a function of the recipe and the step alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel

from sdseg.config.training import Optimiser, Training
from sdseg.models.diffusion_segmenter import DiffusionSegmenter
from sdseg.models.segmenter import Segmenter

__all__ = ["average_of", "build_optimiser", "learning_rate", "update_average"]


def build_optimiser(segmenter: Segmenter, settings: Optimiser) -> AdamW:
    """AdamW over the trainable parameters, which are on their device already."""
    trainable = [parameter for parameter in segmenter.parameters() if parameter.requires_grad]
    return AdamW(
        trainable,
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=all(parameter.device.type == "cpu" for parameter in trainable),  # one pass over the weights, not ten
    )


def learning_rate(step: int, settings: Optimiser, steps: int, batch: int = 1, switch: int = 0) -> float:
    """The rate of step 0 … steps−1: linear warm-up, then constant or a cosine down to zero.

    With `mask_learning_rate` it does so twice: over the steps before `switch`, and at that rate over the rest.
    `times_batch` multiplies it by `batch`, the samples of a step over all processes and parts, as LDM's main.py does.
    """
    peak = settings.learning_rate
    if settings.mask_learning_rate is not None:
        if step >= switch:
            peak, step, steps = settings.mask_learning_rate, step - switch, steps - switch
        else:
            steps = switch
    peak *= batch if settings.times_batch else 1
    if step < settings.warmup_steps:
        return peak * (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return peak
    fraction = (step - settings.warmup_steps) / max(steps - settings.warmup_steps, 1)
    return peak * 0.5 * (1.0 + math.cos(math.pi * fraction))


def average_of(segmenter: Segmenter, settings: Training) -> AveragedModel:
    """An exponential moving average of the weights, to be used for validation, inference and export."""
    average = AveragedModel(segmenter, multi_avg_fn=_moving_average(settings.ema_decay))
    return average.eval().requires_grad_(False)


def update_average(average: AveragedModel, segmenter: Segmenter, settings: Training) -> None:
    """Take one optimiser step into the average. `ema_scope: denoiser` keeps the other networks at their last value."""
    average.update_parameters(segmenter)
    if settings.ema_scope == "denoiser" and isinstance(segmenter, DiffusionSegmenter):
        averaged = cast("DiffusionSegmenter", average.module)
        for name, part in segmenter.parts().items():
            if name != "denoiser" and any(parameter.requires_grad for parameter in part.parameters()):
                averaged.get_submodule(name).load_state_dict(part.state_dict())


def _moving_average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """LDM's rule: the decay grows from 0.1 towards its value, so that early weights do not linger."""

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        updates = int(count)
        weight = 1.0 - min(decay, (1.0 + updates) / (10.0 + updates))
        torch._foreach_lerp_(list(averaged), list(current), weight)

    return update
