"""From noise to probability, given an image: what all methods that denoise a latent have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from sdseg.artifacts.image_contract import ImageContract
from sdseg.config.inference import Inference
from sdseg.config.noise_process import Diffusion
from sdseg.core.errors import UserError
from sdseg.models import diffusion
from sdseg.models.normaliser import Normaliser
from sdseg.models.sampling import ReverseProcess
from sdseg.models.segmenter import Batch, Segmenter

__all__ = ["DiffusionSegmenter", "Noisy"]

Noisy = tuple[Tensor, Tensor, Tensor, Tensor]  # timesteps [N], ᾱ [N,1,…], the noise and z_t [N,c,…]


class DiffusionSegmenter(Segmenter, ABC):
    """Encode the image, denoise from t = T−1 in one or several steps, decode.

    A method gives its networks as `_encoded`, `_predicted` and `_decoded`, and what comes of a pixel as `_probability`.
    """

    def __init__(
        self,
        process: Diffusion,
        image: ImageContract,
        inference: Inference,
        latent_shape: tuple[int, ...],
        passes: int = 1,
    ) -> None:
        """`latent_shape`: (c,h,w) or (c,d,h,w). `passes` of the denoiser, one for each structure, or 1 for all."""
        super().__init__()
        self.process = process
        self.passes = passes
        self.samples = inference.samples
        self.sampling = ReverseProcess(process, inference)
        self.latent_shape = latent_shape
        self.normaliser = Normaliser(image)
        if process.inference_noise == "gaussian":
            self.noise_shape = (self.samples * self.sampling.noises * latent_shape[0], *latent_shape[1:])
        self.register_buffer("alphas_cumprod", diffusion.alphas_cumprod(process).float(), persistent=False)
        self.alphas_cumprod: Tensor
        # One noise for every image, part of the weights, so that every backend starts from the same (official code).
        fixed = torch.randn(self.latent_shape, generator=torch.Generator().manual_seed(0))
        self.register_buffer("fixed_noise", fixed, persistent=process.inference_noise == "fixed")
        self.fixed_noise: Tensor

    def one_pass(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        probability = self._sampled(image, noise)  # [N·S,K,H,W]
        if self.samples > 1:  # the mean over the hypotheses
            probability = probability.reshape(-1, self.samples, *probability.shape[1:]).mean(dim=1)
        return probability  # [N,K,H,W]

    def one_pass_hypotheses(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        probability = self._sampled(image, noise)
        return probability.reshape(-1, self.samples, *probability.shape[1:])

    @abstractmethod
    def _encoded(self, image: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """z_c [N,c',h,w] of normalised images, and the coarser and finer features that denoiser and decoding see."""

    @abstractmethod
    def _predicted(
        self, noisy: Tensor, condition: Tensor, timesteps: Tensor, structure: Tensor | None, coarser: list[Tensor]
    ) -> Tensor:
        """The network's prediction [N,c,h,w] for z_t, given z_c."""

    @abstractmethod
    def _decoded(self, latent: Tensor, levels: list[Tensor]) -> Tensor:
        """The mask of a latent as an image [N,3,H,W], about −1 outside and 1 inside; of classes or a head logits."""

    @abstractmethod
    def _probability(self, decoded: Tensor) -> Tensor:
        """That of each structure that one latent holds, [N,1 or K,H,W]."""

    def _sampled(self, image: Tensor, noise: Tensor | None) -> Tensor:
        """Probabilities of the hypotheses of all images, [N·S,K,H,W]; those of an image lie side by side."""
        # 1. Normalise and encode the condition, once per image however many hypotheses are drawn.
        condition, coarser, levels = self._encoded(self.normaliser(image))  # [N,c',h,w]

        # 2. Start from pure noise (or none) at the first of the timesteps.
        noises = self._noises(condition.shape[0], noise)  # [N·S,c,h,w] each
        if self.samples > 1:
            condition, coarser, levels = _repeated(self.samples, condition, coarser, levels)  # [N·S,c',h,w]

        # 3. Reverse steps, the last of which estimates z_0, and one decoding, per structure or for all at once.
        probabilities = []
        for index in range(self.passes):
            structure = None
            if self.passes > 1:
                structure = torch.full((condition.shape[0],), index, dtype=torch.int64, device=image.device)
            latent = self._denoised(noises, condition, coarser, structure)
            probabilities.append(self._probability(self._decoded(latent, levels)))  # [N·S,1 or K,H,W]
        return torch.cat(probabilities, dim=1).float()  # [N·S,K,H,W]

    def _denoised(
        self, noises: list[Tensor], condition: Tensor, coarser: list[Tensor], structure: Tensor | None
    ) -> Tensor:
        """All reverse steps, from z_T, the first of the noises, to z_0 [N·S,c,h,w]."""

        def predict(latent: Tensor, timestep: int) -> Tensor:
            timesteps = torch.full((condition.shape[0],), timestep, dtype=torch.int64, device=condition.device)
            return self._predicted(latent, condition, timesteps, structure, coarser)

        return self.sampling(predict, noises[0], noises[1:], self.alphas_cumprod)

    def _noises(self, images: int, noise: Tensor | None) -> list[Tensor]:
        """z_T for a batch [N·S,c,h,w], according to `inference_noise`, and what is added on the way."""
        if self.process.inference_noise == "gaussian":
            if noise is None:
                raise UserError("this recipe starts from Gaussian noise", remedy="give 'noise' [N,S·c,h,w]")
            count = self.sampling.noises
            if count == 1:
                return [noise.reshape(-1, *self.latent_shape) if self.samples > 1 else noise]
            return list(noise.reshape(-1, count, *self.latent_shape).unbind(dim=1))
        start = self.fixed_noise if self.process.inference_noise == "fixed" else torch.zeros_like(self.fixed_noise)
        return [start.unsqueeze(0).expand(images * self.samples, *self.latent_shape)]

    def _made_noisy(self, latent: Tensor, batch: Batch) -> Noisy:
        """z_t of clean latents [N,c,h,w] at the timesteps and with the noise that the batch was given."""
        if batch.noise is None or batch.uniform is None:
            raise UserError(
                "a method that denoises needs noise and timesteps", remedy="build the samples of its recipe"
            )
        timesteps = diffusion.draw_timesteps(batch.uniform, self.process)
        alpha_bar = self.alphas_cumprod[timesteps].view(-1, *(1,) * (latent.ndim - 1))
        noise = diffusion.training_noise(batch.noise, self.process)
        noisy = diffusion.add_noise(latent, noise, alpha_bar)
        if self.process.train_noise == "zero":
            noisy = torch.zeros_like(noisy)  # inference starts from zeros, without the trace of z_0 that √ᾱ leaves
        return timesteps, alpha_bar, noise, noisy

    def _weighted(self, prediction: Tensor, latent: Tensor, parts: Noisy) -> dict[str, Tensor]:
        """The losses on noise, latent and v, with their weights; `parts` as made of the clean `latent`."""
        process, (_, alpha_bar, noise, noisy) = self.process, parts
        weights = {"noise": process.loss_noise, "latent": process.loss_latent, "velocity": process.loss_velocity}
        terms = diffusion.losses(prediction, latent, noise, noisy, alpha_bar, process)
        return {name: weights[name] * term for name, term in terms.items()}


def _repeated(
    samples: int, condition: Tensor, coarser: list[Tensor], levels: list[Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Each [N,C,h,w] once for every hypothesis [N·S,C,h,w]."""

    def repeat(features: Tensor) -> Tensor:
        return features.unsqueeze(1).expand(-1, samples, *features.shape[1:]).flatten(0, 1)

    return repeat(condition), [repeat(each) for each in coarser], [repeat(each) for each in levels]
