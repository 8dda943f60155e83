"""The diffusion process as values: noise schedule, prediction target, losses, and what inference starts from."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sdseg.core.settings import MANY, Strict

__all__ = ["Diffusion"]


class Diffusion(Strict):
    """Noise schedule, prediction target, losses, and what inference starts from."""

    timesteps: int = Field(1000, ge=2, le=100_000)
    beta_start: float = Field(0.0015, gt=0, lt=1)
    beta_end: float = Field(0.0155, gt=0, lt=1)
    # scaled_linear is linear in √β (LDM calls it linear, others quadratic, which means the same here). cosine takes no
    # `beta_start` and `beta_end`: ᾱ is as cos²(((t/T + 0.008)/1.008)·π/2) (arXiv 2102.09672).
    schedule: Literal["scaled_linear", "quadratic", "linear", "cosine"] = "scaled_linear"
    zero_terminal_snr: bool = False  # rescale the schedule so that the last timestep is pure noise (arXiv 2305.08891)
    prediction: Literal["x0", "epsilon", "v"] = "x0"
    loss_noise: float = Field(0.0, ge=0, le=1e6)  # weight of the paper's L_noise, on ε
    loss_latent: float = Field(1.0, ge=0, le=1e6)  # weight of the paper's L_latent, on z_0
    loss_velocity: float = Field(0.0, ge=0, le=1e6)  # weight of the same on v
    loss_mask: float = Field(0.0, ge=0, le=1e6)  # weight of `training.mask_loss` on the decoded mask
    loss_head: float = Field(0.0, ge=0, le=1e6)  # weight of the same on what a mask head makes of the mask's own latent
    loss_mask_from: int = Field(0, ge=0, le=MANY)  # steps by the other losses alone, before that of the mask joins
    loss_mask_warmup: int = Field(0, ge=0, le=MANY)  # steps over which its weight then grows to its value
    # How far is far: mean absolute error (the paper's) or mean square. The first aims at the median, which for a mask
    # that covers little of most images is no mask at all; the second at the mean.
    distance: Literal["l1", "l2"] = "l1"
    train_timesteps: Literal["uniform", "last"] = "uniform"  # 'last': only the timestep inference starts at
    train_noise: Literal["gaussian", "shared", "zero"] = "gaussian"  # shared: one for all samples at once
    inference_noise: Literal["zero", "fixed", "gaussian"] = "zero"
    spacing: Literal["trailing", "leading"] = "trailing"  # timesteps of inference: trailing ones end at T−1
    sample_latents: bool = False  # True: encode masks by sampling the posterior, as the official code does

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.beta_end < self.beta_start:
            raise ValueError("'beta_end' must not be smaller than 'beta_start'")
        if not any((self.loss_noise, self.loss_latent, self.loss_velocity, self.loss_mask)):
            raise ValueError(
                "'loss_noise', 'loss_latent', 'loss_velocity' and 'loss_mask' are all 0: nothing is learnt"
            )
        if not self.loss_mask and (self.loss_mask_from or self.loss_mask_warmup):
            raise ValueError("'loss_mask_from' and 'loss_mask_warmup' mean nothing with 'loss_mask: 0'")
        if self.loss_mask_from and not any((self.loss_noise, self.loss_latent, self.loss_velocity)):
            raise ValueError(
                f"the first stage is missing: until 'loss_mask_from: {self.loss_mask_from}' nothing is learnt, since "
                "'loss_noise', 'loss_latent' and 'loss_velocity' are all 0"
            )
        if self.train_noise == "zero" and self.train_timesteps == "uniform":
            raise ValueError("'train_noise: zero' only makes sense where inference starts; set train_timesteps: last")
        if self.train_noise == "zero" and self.inference_noise != "zero":
            raise ValueError("'train_noise: zero' needs 'inference_noise: zero': the network never saw noise")
        if self.zero_terminal_snr and self.prediction == "epsilon":
            raise ValueError(
                "'prediction: epsilon' with 'zero_terminal_snr': at the last timestep ᾱ = 0, and Eq. 2 divides by it; "
                "predict x0 or v"
            )
        if self.zero_terminal_snr and self.spacing == "leading":
            raise ValueError(
                "'zero_terminal_snr' needs 'spacing: trailing': leading timesteps never reach the last one"
            )
        if self.train_noise == "zero" and self.prediction != "x0":
            raise ValueError(f"'train_noise: zero' leaves no {self.prediction} to predict; set 'prediction: x0'")
        if self.train_noise == "zero" and (self.loss_noise or self.loss_velocity):
            raise ValueError("'train_noise: zero' leaves nothing for 'loss_noise' or 'loss_velocity'; set them to 0")
        return self
