"""LDSeg: label encoder, image encoder, denoiser and label decoder as one segmenter, trained by one loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sdseg.artifacts.image_contract import ImageContract
from sdseg.config.end_to_end_network import EndToEndNetwork
from sdseg.config.inference import Inference
from sdseg.config.noise_process import Diffusion
from sdseg.config.training import MaskLoss
from sdseg.models import diffusion
from sdseg.models.diffusion_segmenter import DiffusionSegmenter
from sdseg.models.end_to_end_networks import ImageCondition, LabelDecoder, LabelEncoder
from sdseg.models.label_classes import LabelClasses
from sdseg.models.losses import decoded_loss
from sdseg.models.segmenter import Batch
from sdseg.models.spatial_unet import SpatialUnet

__all__ = ["EndToEndSegmenter"]


class EndToEndSegmenter(DiffusionSegmenter):
    """Every class in one pass. The label encoder learns and starts a training, and has no part in inference."""

    def __init__(
        self,
        network: EndToEndNetwork,
        process: Diffusion,
        image: ImageContract,
        sides: Sequence[int],
        inference: Inference,
        classes: LabelClasses,
        loss_on_masks: MaskLoss,
    ) -> None:
        """`sides`: pixels of what is seen at once, along each axis."""
        super().__init__(process, image, inference, network.latent_shape(sides))
        self.loss_on_masks = loss_on_masks
        self.decodes_difference = network.decoder_input == "difference"
        channels, condition = network.latent_channels, network.image_encoder.latent_channels
        self.classes = classes
        self.label_encoder = LabelEncoder(network, classes.count)
        self.condition_encoder = ImageCondition(network, image.planes)
        self.denoiser = SpatialUnet(network.denoiser, network.dimensions, channels + condition, channels)
        self.decoder = LabelDecoder(network, classes.count)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        process = self.process
        latent = self.label_encoder(self.classes.one_hot(batch.mask))  # [N,c,h,w]
        parts = self._made_noisy(latent, batch)
        timesteps, alpha_bar, _, noisy = parts
        condition, coarser, levels = self._encoded(self.normaliser(batch.image))
        prediction = self._predicted(noisy, condition, timesteps, None, coarser).float()
        weighted = self._weighted(prediction, latent, parts)
        if self.decodes_difference:
            estimate = noisy - diffusion.noise_estimate(prediction, noisy, alpha_bar, process.prediction)
        else:
            estimate = diffusion.clean_latent(prediction, noisy, alpha_bar, process.prediction)
        decoded, classes = self._decoded(estimate, levels), self.classes
        loss = decoded_loss(self.loss_on_masks, decoded, classes.logits(decoded), batch.mask, classes)
        weighted["mask"] = diffusion.mask_weight(batch.step, process) * loss
        return weighted

    def _encoded(self, image: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        return self.condition_encoder(image), [], []

    def _predicted(
        self, noisy: Tensor, condition: Tensor, timesteps: Tensor, structure: Tensor | None, coarser: list[Tensor]
    ) -> Tensor:
        prediction: Tensor = self.denoiser(torch.cat([noisy, condition], dim=1), timesteps)
        return prediction

    def _decoded(self, latent: Tensor, levels: list[Tensor]) -> Tensor:
        logits: Tensor = self.decoder(latent)
        return logits

    def _probability(self, decoded: Tensor) -> Tensor:
        return self.classes.probability(decoded)
