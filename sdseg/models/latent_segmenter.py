"""The latent method: condition encoder, denoiser and mask decoder as one segmenter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdseg.artifacts.manifests import ImageContract
from sdseg.config.network import LatentNetwork
from sdseg.config.recipe import Inference, MaskLoss
from sdseg.config.trained_models import Distillation
from sdseg.core.errors import UserError
from sdseg.models import diffusion
from sdseg.models.alignment import FeatureAlignment, features_of
from sdseg.models.codec import MaskCodec, MaskDecoder
from sdseg.models.denoiser import ConditionalDenoiser
from sdseg.models.image_encoder import ImageEncoder
from sdseg.models.label_classes import LabelClasses
from sdseg.models.losses import mask_loss
from sdseg.models.mask_head import ConvolutionalHead
from sdseg.models.matching import taught_losses
from sdseg.models.normaliser import Normaliser
from sdseg.models.refinement import MaskRefinement
from sdseg.models.segmenter import Batch, Segmenter

if TYPE_CHECKING:
    from sdseg.config.recipe import Diffusion

__all__ = ["Estimate", "LatentSegmenter", "start_from_codec"]


@dataclass(frozen=True)
class Estimate:
    """What a latent segmenter makes of images on the way to a mask."""

    condition: Tensor  # z_c [N,c',h,w]
    latent: Tensor  # z_0 [N,c,h,w], scaled
    probability: Tensor  # [N,1,H,W] of one structure, or [N,K,H,W] of all that a latent holds


class LatentSegmenter(Segmenter):
    """Condition encoder, one or several UNet passes from t = T−1, estimate of z_0, mask decoder (SDSeg)."""

    def __init__(
        self,
        network: LatentNetwork,
        process: Diffusion,
        image: ImageContract,
        structures: int,
        decoder: MaskDecoder | ConvolutionalHead,
        inference: Inference | None = None,
        loss_on_masks: MaskLoss = "dice_ce",
        classes: LabelClasses | None = None,
        distillation: Distillation | None = None,
    ) -> None:
        """`classes`: of a decoder that gives their logits; None where it draws one structure's mask."""
        super().__init__()
        channels = decoder.latent_channels
        side = image.size // network.condition.factor
        inference = inference or Inference()
        self.process = process
        self.loss_on_masks = loss_on_masks
        self.classes = classes
        self.distillation = distillation
        self.passes = structures if network.classes == "per-class" else 1  # of the denoiser, for all structures
        self.samples = inference.samples
        self.plan = diffusion.reverse_steps(process, inference.steps)
        self.latent_shape = (channels, side, side)
        self.normaliser = Normaliser(image)
        self.condition_encoder = ImageEncoder(network.condition)
        self.denoiser = ConditionalDenoiser(
            network.denoiser, channels, network.condition.latent_channels, self.passes, network.coarser_channels
        )
        self.decoder = decoder.requires_grad_(network.decoder in ("trained", "head"))
        self.decoding = network.decoder
        self.refinement: MaskRefinement | None = None
        if network.decoder == "skips":
            maps = classes.count if classes else 1
            self.refinement = MaskRefinement(network.condition.block_out_channels[:-1], maps)
        self.alignment: FeatureAlignment | None = None
        if not network.condition.trainable:
            whole = network.image_codec is not None  # with its projection, which such a codec brings along
            (self.condition_encoder if whole else self.condition_encoder.encoder).requires_grad_(False)
            self.condition_encoder.coarser.requires_grad_(False)
        if process.inference_noise == "gaussian":
            self.noise_shape = (self.samples * channels, side, side)
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

    def _sampled(self, image: Tensor, noise: Tensor | None) -> Tensor:
        """Probabilities of the hypotheses of all images, [N·S,K,H,W]; those of an image lie side by side."""
        # 1. Normalise and encode the condition, once per image however many hypotheses are drawn.
        condition, coarser, levels = self._encoded(self.normaliser(image))  # [N,c',h,w]

        # 2. Start from pure noise (or none) at the first of the timesteps.
        start = self._start(condition, noise)  # [N·S,c,h,w]
        if self.samples > 1:
            condition, coarser, levels = _repeated(self.samples, condition, coarser, levels)  # [N·S,c',h,w]

        # 3. Reverse steps, the last of which estimates z_0, and one decoding, per structure or for all at once.
        probabilities = []
        for index in range(self.passes):
            structure = None
            if self.passes > 1:
                structure = torch.full((condition.shape[0],), index, dtype=torch.int64, device=image.device)
            latent = self._denoised(start, condition, coarser, structure)
            probabilities.append(self.decoder.probability(self._decoded(latent, levels)))  # [N·S,1 or K,H,W]
        return torch.cat(probabilities, dim=1).float()  # [N·S,K,H,W]

    def estimate(self, image: Tensor, structure: Tensor | None) -> Estimate:
        """What is made of raw images [N,H,W,C] in one pass, for the `structure` [N] of each where several need passes.

        Raises UserError for a segmenter that starts from Gaussian noise.
        """
        condition, coarser, levels = self._encoded(self.normaliser(image))
        latent = self._denoised(self._start(condition, None), condition, coarser, structure)
        return Estimate(condition, latent, self.decoder.probability(self._decoded(latent, levels)))

    def _denoised(self, start: Tensor, condition: Tensor, coarser: list[Tensor], structure: Tensor | None) -> Tensor:
        """All reverse steps, from z_T to z_0, [N·S,c,h,w]."""
        latent = start
        for step in self.plan:
            timesteps = torch.full((condition.shape[0],), step.start, dtype=torch.int64, device=condition.device)
            prediction = self.denoiser(latent, condition, timesteps, structure, coarser).float()
            latent = diffusion.reverse(prediction, latent, step, self.alphas_cumprod, self.process.prediction)
        return latent

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        if batch.latent is None or batch.noise is None or batch.uniform is None:
            raise UserError("the latent method needs latents, noise and timesteps", remedy="train with a codec")
        process = self.process
        timesteps = diffusion.draw_timesteps(batch.uniform, process)
        alpha_bar = self.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        noise = torch.zeros_like(batch.noise) if process.train_noise == "zero" else batch.noise
        noisy = diffusion.add_noise(batch.latent, noise, alpha_bar)
        if process.train_noise == "zero":
            noisy = torch.zeros_like(noisy)  # inference starts from zeros, without the trace of z_0 that √ᾱ leaves
        image = self.normaliser(batch.image)
        condition, coarser, levels = self._encoded(image)
        structure = batch.structure if self.passes > 1 else None
        with features_of(self.denoiser.middle) as features:
            prediction = self.denoiser(noisy, condition, timesteps, structure, coarser).float()
        terms = diffusion.losses(prediction, batch.latent, noise, noisy, alpha_bar, process)
        weights = {"noise": process.loss_noise, "latent": process.loss_latent, "velocity": process.loss_velocity}
        weighted = {name: weights[name] * term for name, term in terms.items()}
        clean = diffusion.clean_latent(prediction, noisy, alpha_bar, process.prediction)
        weight = diffusion.mask_weight(batch.step, process)
        wanted, teacher = self.distillation, batch.teacher
        soft = wanted is not None and teacher is not None and wanted.probability > 0
        logits = self.decoder.logits(self._decoded(clean, levels)) if weight or soft else None
        if weight and logits is not None:
            weighted["mask"] = weight * mask_loss(self.loss_on_masks, logits, self._masks(batch))
        weighted |= self._head_losses(batch)
        if wanted is not None and teacher is not None:
            own = {"condition": condition, "latent": clean, "logits": logits}
            weighted |= taught_losses(wanted, teacher, **own, distance=process.distance)
        if self.alignment is not None:
            weighted["alignment"] = self.alignment(features[0], self.normaliser.own_slice(image))
        return weighted

    def _head_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Of a mask head by itself, on latents that are given: the mask's own, and the teacher's."""
        given = {"head": (self.process.loss_head, batch.latent)}
        if self.distillation is not None and batch.teacher is not None:
            given["taught_head"] = (self.distillation.head, batch.teacher.latent)
        return {
            name: weight * mask_loss(self.loss_on_masks, self.decoder.logits(self.decoder(latent)), self._masks(batch))
            for name, (weight, latent) in given.items()
            if weight and latent is not None
        }

    def _masks(self, batch: Batch) -> Tensor:
        """The masks that one latent stands for, [N,1,H,W] or [N,K,H,W]."""
        return batch.encoded_masks(1 if self.classes is None else self.classes.structures)

    def _encoded(self, image: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """z_c [N,c',h,w] of normalised images, and the coarser and finer features that denoiser and decoding see."""
        if self.refinement is None:
            return *self.condition_encoder(image), []
        with features_of(*self.condition_encoder.finer_levels) as levels:
            return *self.condition_encoder(image), levels

    def _decoded(self, latent: Tensor, levels: list[Tensor]) -> Tensor:
        """The mask of a latent as an image [N,3,H,W], about −1 outside and 1 inside; of classes or a head logits."""
        decoded: Tensor = self.decoder(latent)
        return decoded if self.refinement is None else self.refinement(decoded, levels)

    def _start(self, condition: Tensor, noise: Tensor | None) -> Tensor:
        """z_T for a batch [N·S,c,h,w], according to `inference_noise`."""
        count = condition.shape[0]
        if self.process.inference_noise == "gaussian":
            if noise is None:
                raise UserError("this recipe starts from Gaussian noise", remedy="give 'noise' [N,S·c,h,w]")
            return noise.reshape(-1, *self.latent_shape) if self.samples > 1 else noise
        if self.process.inference_noise == "fixed":
            return self.fixed_noise.unsqueeze(0).expand(count, -1, -1, -1)
        return torch.zeros_like(self.fixed_noise).unsqueeze(0).expand(count, -1, -1, -1)


def _repeated(
    samples: int, condition: Tensor, coarser: list[Tensor], levels: list[Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Each [N,C,h,w] once for every hypothesis [N·S,C,h,w]."""

    def repeat(features: Tensor) -> Tensor:
        return features.unsqueeze(1).expand(-1, samples, -1, -1, -1).flatten(0, 1)

    return repeat(condition), [repeat(each) for each in coarser], [repeat(each) for each in levels]


def start_from_codec(segmenter: LatentSegmenter, codec: MaskCodec, images: MaskCodec | None = None) -> None:
    """Take over the codec's decoder and, where the recipe says so, its encoder, or that of a codec of `images`.

    A mask head stays as it is.
    """
    if isinstance(segmenter.decoder, MaskDecoder):
        segmenter.decoder.load_state_dict(MaskDecoder.of(codec).state_dict())
    segmenter.condition_encoder.start_from(images or codec)
