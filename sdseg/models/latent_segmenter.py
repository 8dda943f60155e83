"""The latent method: condition encoder, denoiser and mask decoder as one segmenter."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sdseg.artifacts.image_contract import ImageContract
from sdseg.config.inference import Inference
from sdseg.config.network import LatentNetwork
from sdseg.config.noise_process import Diffusion
from sdseg.config.trained_models import Distillation
from sdseg.config.training import MaskLoss
from sdseg.core.errors import UserError
from sdseg.models import diffusion
from sdseg.models.alignment import FeatureAlignment, features_of
from sdseg.models.codec import MaskCodec, MaskDecoder
from sdseg.models.denoiser import ConditionalDenoiser
from sdseg.models.diffusion_segmenter import DiffusionSegmenter
from sdseg.models.image_encoder import ImageEncoder
from sdseg.models.label_classes import LabelClasses
from sdseg.models.losses import decoded_loss
from sdseg.models.mask_head import ConvolutionalHead
from sdseg.models.matching import taught_losses
from sdseg.models.refinement import MaskRefinement
from sdseg.models.segmenter import Batch

__all__ = ["Estimate", "LatentSegmenter", "start_from_codec"]


@dataclass(frozen=True)
class Estimate:
    """What a latent segmenter makes of images on the way to a mask."""

    condition: Tensor  # z_c [N,c',h,w]
    latent: Tensor | None  # z_0 [N,c,h,w], scaled
    probability: Tensor | None  # [N,1,H,W] of one structure, or [N,K,H,W] of all that a latent holds


class LatentSegmenter(DiffusionSegmenter):
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
        channels = decoder.latent_channels
        height, width = (side // network.condition.factor for side in image.sides)
        passes = structures if network.classes == "per-class" else 1  # of the denoiser, for all structures
        super().__init__(process, image, inference or Inference(), (channels, height, width), passes)
        self.loss_on_masks = loss_on_masks
        self.classes = classes
        self.distillation = distillation
        self.condition_encoder = ImageEncoder(network.condition, image.planes)
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

    def estimate(
        self, image: Tensor, structure: Tensor | None, *, latent: bool = True, probability: bool = True
    ) -> Estimate:
        """What is made of raw images [N,H,W,C] in one pass, for the `structure` [N] of each where several need passes.

        Nothing is denoised for the condition alone, nor decoded for the latent. Raises UserError for a segmenter that
        starts from Gaussian noise.
        """
        condition, coarser, levels = self._encoded(self.normaliser(image))
        if not latent and not probability:
            return Estimate(condition, None, None)
        clean = self._denoised(self._noises(condition.shape[0], None), condition, coarser, structure)
        return Estimate(condition, clean, self._probability(self._decoded(clean, levels)) if probability else None)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        if batch.latent is None:
            raise UserError("the latent method needs latents", remedy="train with a codec")
        process = self.process
        parts = self._made_noisy(batch.latent, batch)
        timesteps, alpha_bar, _, noisy = parts
        image = self.normaliser(batch.image)
        condition, coarser, levels = self._encoded(image)
        structure = batch.structure if self.passes > 1 else None
        with features_of(self.denoiser.middle) as features:
            prediction = self._predicted(noisy, condition, timesteps, structure, coarser).float()
        weighted = self._weighted(prediction, batch.latent, parts)
        clean = diffusion.clean_latent(prediction, noisy, alpha_bar, process.prediction)
        weight = diffusion.mask_weight(batch.step, process)
        wanted, teacher = self.distillation, batch.teacher
        soft = wanted is not None and teacher is not None and wanted.probability > 0
        decoded = self._decoded(clean, levels) if weight or soft else None
        logits = self.decoder.logits(decoded) if decoded is not None else None
        if weight and decoded is not None:
            weighted["mask"] = weight * self._mask_loss(decoded, batch)
        weighted |= self._head_losses(batch)
        if wanted is not None and teacher is not None:
            own = {"condition": condition, "latent": clean, "logits": logits}
            weighted |= taught_losses(wanted, teacher, **own, distance=process.distance)
        if self.alignment is not None:
            weighted["alignment"] = self.alignment(features[0], self.normaliser.as_colours(image))
        return weighted

    def _head_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Of a mask head by itself, on latents that are given: the mask's own, and the teacher's."""
        given = {"head": (self.process.loss_head, batch.latent)}
        if self.distillation is not None and batch.teacher is not None:
            given["taught_head"] = (self.distillation.head, batch.teacher.latent)
        return {
            name: weight * self._mask_loss(self.decoder(latent), batch)
            for name, (weight, latent) in given.items()
            if weight and latent is not None
        }

    def _mask_loss(self, decoded: Tensor, batch: Batch) -> Tensor:
        """Of what is decoded, on the masks that one latent stands for."""
        masks = batch.encoded_masks(1 if self.classes is None else self.classes.structures)  # [N,1 or K,H,W]
        logits = self.decoder.logits(decoded)
        return decoded_loss(self.loss_on_masks, decoded, logits, masks, self.classes)

    def _encoded(self, image: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        if self.refinement is None:
            return *self.condition_encoder(image), []
        with features_of(*self.condition_encoder.finer_levels) as levels:
            return *self.condition_encoder(image), levels

    def _predicted(
        self, noisy: Tensor, condition: Tensor, timesteps: Tensor, structure: Tensor | None, coarser: list[Tensor]
    ) -> Tensor:
        prediction: Tensor = self.denoiser(noisy, condition, timesteps, structure, coarser)
        return prediction

    def _decoded(self, latent: Tensor, levels: list[Tensor]) -> Tensor:
        decoded: Tensor = self.decoder(latent)
        return decoded if self.refinement is None else self.refinement(decoded, levels)

    def _probability(self, decoded: Tensor) -> Tensor:
        return self.decoder.probability(decoded)


def start_from_codec(segmenter: LatentSegmenter, codec: MaskCodec, images: MaskCodec | None = None) -> None:
    """Take over the codec's decoder and, where the recipe says so, its encoder, or that of a codec of `images`.

    A mask head stays as it is.
    """
    if isinstance(segmenter.decoder, MaskDecoder):
        segmenter.decoder.load_state_dict(MaskDecoder.of(codec).state_dict())
    segmenter.condition_encoder.start_from(images or codec)
