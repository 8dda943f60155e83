"""Inference as a walk back from noise: which timesteps, which noise, and what becomes of the latent between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from sdseg.config.inference import Inference
from sdseg.config.noise_process import Diffusion
from sdseg.models import diffusion
from sdseg.models.diffusion import ReverseStep

__all__ = ["ReverseProcess", "standardised"]

EPSILON = 1e-6


def standardised(latent: Tensor, *, over_batch: bool = False) -> Tensor:
    """`latent` [N,C,…] with zero mean and unit deviation in each case, or over the whole batch."""
    axes = tuple(range(0 if over_batch else 1, latent.ndim))
    centred = latent - latent.mean(dim=axes, keepdim=True)
    return centred / (centred.square().mean(dim=axes, keepdim=True) + EPSILON).sqrt()


@dataclass(frozen=True)
class ReverseProcess:
    """The reverse process of a recipe."""

    process: Diffusion
    inference: Inference

    @property
    def plan(self) -> tuple[ReverseStep, ...]:
        """The passes of the denoiser, first one first.

        DDIM goes a whole stride back each time, DDPM to where the next pass starts, and from the last to the clean
        latent: each as its scheduler of diffusers does.
        """
        plan = diffusion.reverse_steps(self.process, self.inference.steps)
        if self.inference.sampler == "ddim":
            return plan
        ends = [step.start for step in plan[1:]] + [-1]
        return tuple(ReverseStep(step.start, end) for step, end in zip(plan, ends, strict=True))

    @property
    def noises(self) -> int:
        """How many noises of a latent's shape one hypothesis takes: z_T, and those that are added on the way."""
        on_the_way = self.inference.steps - 1 if self.inference.sampler == "ddpm" else 0
        return 1 + on_the_way + self.inference.last_noise

    def __call__(
        self, predict: Callable[[Tensor, int], Tensor], start: Tensor, noises: Sequence[Tensor], alphas: Tensor
    ) -> Tensor:
        """The latent [N,C,…] that z_T = `start` leads to.

        `predict` gives the network's prediction for a latent at a timestep; `noises` are those that are added after one
        another, [N,C,…] each; `alphas` is ᾱ of all timesteps [T].
        """
        remaining, kind = iter(noises), self.process.prediction
        latent = self._between(start)
        for step in self.plan:
            prediction = predict(latent, step.start).float()
            if self.inference.sampler == "ddpm":
                noise = next(remaining) if step.end >= 0 else None
                latent = diffusion.ancestral(prediction, latent, step, alphas, kind, noise)
            else:
                latent = diffusion.reverse(prediction, latent, step, alphas, kind)
            latent = self._between(latent)
        if self.inference.last_noise:
            latent = latent + diffusion.beta(alphas, self.plan[-1].start).sqrt() * next(remaining)
        return latent

    def _between(self, latent: Tensor) -> Tensor:
        if self.inference.standardise == "none":
            return latent
        return standardised(latent, over_batch=self.inference.standardise == "batch")
