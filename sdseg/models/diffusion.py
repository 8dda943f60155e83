"""The diffusion process as pure functions: schedule, adding noise, estimates, losses, reverse steps.

Equation numbers are those of the SDSeg paper (arXiv 2406.18361). z_0 is a clean latent, n the noise, z_t their mixture,
ᾱ the cumulative product of 1 − β, v = √ᾱ n − √(1−ᾱ) z_0 (arXiv 2202.00512). All tensors are [N,C,h,w]; timesteps are
int64 [N]. The reverse step is DDIM's with η = 0 (arXiv 2010.02502), as diffusers' `DDIMScheduler` computes it; its own
`step` looks values up while it runs, which an exported graph cannot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sdseg.config.noise_process import Diffusion

__all__ = [
    "ReverseStep",
    "add_noise",
    "alphas_cumprod",
    "ancestral",
    "beta",
    "clean_latent",
    "draw_timesteps",
    "losses",
    "mask_weight",
    "noise_estimate",
    "reverse",
    "reverse_steps",
    "training_noise",
    "velocity",
]


COSINE_OFFSET = 0.008  # s of the cosine schedule, which keeps the first β from vanishing


@dataclass(frozen=True)
class ReverseStep:
    """One pass of the network: from timestep `start` to `end`; −1 is the clean latent."""

    start: int
    end: int


def alphas_cumprod(settings: Diffusion) -> Tensor:
    """ᾱ_t for t = 0 … T−1, float64 [T]. `scaled_linear` is what LDM calls `linear`: linear in √β.

    With `zero_terminal_snr`, √ᾱ is shifted and scaled so that its first value stays and its last is 0
    (arXiv 2305.08891, Algorithm 1).
    """
    start, end, steps = settings.beta_start, settings.beta_end, settings.timesteps
    if settings.schedule == "cosine":
        times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        whole = torch.cos((times + COSINE_OFFSET) / (1 + COSINE_OFFSET) * torch.pi / 2) ** 2
        betas = (1.0 - whole[1:] / whole[:-1]).clamp(max=0.999)  # the last one would be 1, and ᾱ 0
    elif settings.schedule in ("scaled_linear", "quadratic"):
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    else:
        betas = torch.linspace(start, end, steps, dtype=torch.float64)
    products = torch.cumprod(1.0 - betas, dim=0)
    if settings.zero_terminal_snr:
        roots = products.sqrt()
        products = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    return products


def add_noise(clean: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Eq. 1: z_t = √ᾱ z_0 + √(1−ᾱ) n, with ᾱ of shape [N,1,1,1]."""
    return alpha_bar.sqrt() * clean + (1.0 - alpha_bar).sqrt() * noise


def velocity(clean: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """v = √ᾱ n − √(1−ᾱ) z_0."""
    return alpha_bar.sqrt() * noise - (1.0 - alpha_bar).sqrt() * clean


def clean_latent(prediction: Tensor, noisy: Tensor, alpha_bar: Tensor, kind: str) -> Tensor:
    """The one-step estimate of z_0 from what the network predicts (Eq. 2 for ε)."""
    if kind == "x0":
        return prediction
    if kind == "v":
        return alpha_bar.sqrt() * noisy - (1.0 - alpha_bar).sqrt() * prediction
    return (noisy - (1.0 - alpha_bar).sqrt() * prediction) / alpha_bar.sqrt()


def noise_estimate(prediction: Tensor, noisy: Tensor, alpha_bar: Tensor, kind: str) -> Tensor:
    """The estimate of n from what the network predicts."""
    if kind == "epsilon":
        return prediction
    if kind == "v":
        return alpha_bar.sqrt() * prediction + (1.0 - alpha_bar).sqrt() * noisy
    return (noisy - alpha_bar.sqrt() * prediction) / (1.0 - alpha_bar).sqrt()


def draw_timesteps(uniform: Tensor, settings: Diffusion) -> Tensor:
    """Timesteps int64 [N] from numbers in [0,1): all of 0 … T−1 alike, or the last one alone."""
    last = settings.timesteps - 1
    if settings.train_timesteps == "last":
        return torch.full_like(uniform, last, dtype=torch.int64)
    return (uniform * settings.timesteps).long().clamp_(max=last)


def reverse_steps(settings: Diffusion, steps: int) -> tuple[ReverseStep, ...]:
    """The passes of inference, first one first, at the timesteps diffusers' `DDIMScheduler` chooses.

    `trailing` starts at T−1 and ends in the clean latent. `leading` is LDM's `make_ddim_timesteps` (uniform, plus one):
    it starts one stride earlier and ends at timestep 0, whose trace of noise stays (`set_alpha_to_one=False`).
    """
    total = settings.timesteps
    if settings.spacing == "trailing":
        # Its very expression: halves (48 steps of 1000) round as its floating-point numbers do.
        starts = [int(start) - 1 for start in np.round(np.arange(total, 0, -total / steps))[:steps]]
        last = -1
    else:
        starts = [index * (total // steps) + 1 for index in reversed(range(steps))]
        last = 0
    # A whole stride back, as diffusers does: where T is no multiple of `steps` this can miss the next start by one.
    ends = [start - total // steps for start in starts]
    return tuple(ReverseStep(start, end if end >= 0 else last) for start, end in zip(starts, ends, strict=True))


def reverse(prediction: Tensor, noisy: Tensor, step: ReverseStep, alphas: Tensor, kind: str) -> Tensor:
    """DDIM's step with η = 0: z at `step.end` from z at `step.start`; `alphas` is ᾱ of all timesteps [T]."""
    alpha_bar = alphas[step.start]
    clean = clean_latent(prediction, noisy, alpha_bar, kind)
    if step.end < 0:
        return clean
    return add_noise(clean, noise_estimate(prediction, noisy, alpha_bar, kind), alphas[step.end])


def ancestral(
    prediction: Tensor, noisy: Tensor, step: ReverseStep, alphas: Tensor, kind: str, noise: Tensor | None
) -> Tensor:
    """DDPM's step (arXiv 2006.11239, Eq. 7), as diffusers' `DDPMScheduler` computes it with `fixed_small` variance.

    `noise` is added where the step does not end in the clean latent.
    """
    alpha_bar = alphas[step.start]
    before = alphas[step.end] if step.end >= 0 else torch.ones_like(alpha_bar)
    share = 1.0 - alpha_bar / before  # β of the whole stride
    clean = clean_latent(prediction, noisy, alpha_bar, kind)
    mean = before.sqrt() * share / (1.0 - alpha_bar) * clean
    mean = mean + (1.0 - share).sqrt() * (1.0 - before) / (1.0 - alpha_bar) * noisy
    if noise is None:
        return mean
    return mean + ((1.0 - before) / (1.0 - alpha_bar) * share).sqrt() * noise


def beta(alphas: Tensor, timestep: int) -> Tensor:
    """β of one timestep, from ᾱ of all [T]."""
    return 1.0 - alphas[timestep] / alphas[timestep - 1] if timestep else 1.0 - alphas[0]


def training_noise(noise: Tensor, settings: Diffusion) -> Tensor:
    """The noise [N,C,…] of a batch as training takes it: as drawn for each sample, the first one's for all, or none."""
    if settings.train_noise == "shared":
        return noise[:1].expand_as(noise)
    return torch.zeros_like(noise) if settings.train_noise == "zero" else noise


def losses(
    prediction: Tensor, clean: Tensor, noise: Tensor, noisy: Tensor, alpha_bar: Tensor, settings: Diffusion
) -> dict[str, Tensor]:
    """Eq. 3: the unweighted L_noise and L_latent, and the same on v, in the distance of the settings.

    Only those with a weight are computed. The paper's distance is the mean absolute error.
    """
    terms = {}
    kind = settings.prediction
    distance = functional.l1_loss if settings.distance == "l1" else functional.mse_loss
    if settings.loss_noise:
        terms["noise"] = distance(noise_estimate(prediction, noisy, alpha_bar, kind), noise)
    if settings.loss_latent:
        terms["latent"] = distance(clean_latent(prediction, noisy, alpha_bar, kind), clean)
    if settings.loss_velocity:
        predicted = prediction
        if kind != "v":
            z, n = (function(prediction, noisy, alpha_bar, kind) for function in (clean_latent, noise_estimate))
            predicted = velocity(z, n, alpha_bar)
        terms["velocity"] = distance(predicted, velocity(clean, noise, alpha_bar))
    return terms


def mask_weight(step: int, settings: Diffusion) -> float:
    """Weight of the loss on the mask at step 1, 2, …: none at first, then growing to its value, as the settings say."""
    since = step - settings.loss_mask_from
    if since <= 0:
        return 0.0
    return settings.loss_mask * min(1.0, since / max(settings.loss_mask_warmup, 1))
