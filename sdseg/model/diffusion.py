"""The diffusion process as pure functions: schedule, adding noise, one-step estimates, losses.

Equation numbers are those of the SDSeg paper (arXiv 2406.18361). z_0 is a clean latent, n the noise, z_t their mixture,
ᾱ the cumulative product of 1 − β. All tensors are [N,C,h,w]; timesteps are int64 [N].
"""

from __future__ import annotations

import torch
from torch import Tensor

from sdseg.recipes import Diffusion

__all__ = ["add_noise", "alphas_cumprod", "clean_latent", "draw_timesteps", "losses", "noise_estimate"]


def alphas_cumprod(settings: Diffusion) -> Tensor:
    """ᾱ_t for t = 0 … T−1, float64 [T]. `scaled_linear` is what LDM calls `linear`: linear in √β."""
    start, end, steps = settings.beta_start, settings.beta_end, settings.timesteps
    if settings.schedule == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    else:
        betas = torch.linspace(start, end, steps, dtype=torch.float64)
    return torch.cumprod(1.0 - betas, dim=0)


def add_noise(clean: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Eq. 1: z_t = √ᾱ z_0 + √(1−ᾱ) n, with ᾱ of shape [N,1,1,1]."""
    return alpha_bar.sqrt() * clean + (1.0 - alpha_bar).sqrt() * noise


def clean_latent(prediction: Tensor, noisy: Tensor, alpha_bar: Tensor, kind: str) -> Tensor:
    """The one-step estimate of z_0 from what the network predicts (Eq. 2 for ε)."""
    if kind == "x0":
        return prediction
    return (noisy - (1.0 - alpha_bar).sqrt() * prediction) / alpha_bar.sqrt()


def noise_estimate(prediction: Tensor, noisy: Tensor, alpha_bar: Tensor, kind: str) -> Tensor:
    """The estimate of n from what the network predicts."""
    if kind == "epsilon":
        return prediction
    return (noisy - alpha_bar.sqrt() * prediction) / (1.0 - alpha_bar).sqrt()


def draw_timesteps(uniform: Tensor, settings: Diffusion) -> Tensor:
    """Timesteps int64 [N] from numbers in [0,1): all of 0 … T−1 alike, or the last one alone."""
    last = settings.timesteps - 1
    if settings.train_timesteps == "last":
        return torch.full_like(uniform, last, dtype=torch.int64)
    return (uniform * settings.timesteps).long().clamp_(max=last)


def losses(
    prediction: Tensor, clean: Tensor, noise: Tensor, noisy: Tensor, alpha_bar: Tensor, settings: Diffusion
) -> dict[str, Tensor]:
    """Eq. 3: the unweighted L_noise and L_latent, both mean absolute errors; only those with a weight are computed."""
    terms = {}
    if settings.loss_noise:
        estimate = noise_estimate(prediction, noisy, alpha_bar, settings.prediction)
        terms["noise"] = (estimate - noise).abs().mean()
    if settings.loss_latent:
        terms["latent"] = (clean_latent(prediction, noisy, alpha_bar, settings.prediction) - clean).abs().mean()
    return terms
