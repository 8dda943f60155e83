"""The direct method: a U-Net as a segmenter."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdseg.artifacts.image_contract import ImageContract
from sdseg.config.direct_network import AnyDirectNetwork
from sdseg.config.patches import Extent
from sdseg.config.trained_models import Distillation
from sdseg.config.training import MaskLoss
from sdseg.models.losses import mask_loss, reduced
from sdseg.models.matching import taught_losses
from sdseg.models.normaliser import Normaliser
from sdseg.models.segmenter import Batch, Segmenter
from sdseg.models.unets import DeepSupervision, NnUnet, build_unet

__all__ = ["DirectSegmenter"]


class DirectSegmenter(Segmenter):
    """A plain U-Net with one sigmoid per structure, trained on the mask: what the latent method is held against."""

    def __init__(
        self,
        network: AnyDirectNetwork,
        image: ImageContract,
        structures: int,
        loss_on_masks: MaskLoss = "dice_ce",
        patch: Extent | None = None,
        distillation: Distillation | None = None,
    ) -> None:
        """`patch`: size of those that a network of three dimensions sees."""
        super().__init__()
        self.distillation = distillation
        self.loss_on_masks = loss_on_masks
        self.normaliser = Normaliser(image)
        self.unet = build_unet(network, structures, patch, image.planes)
        self.deep_supervision: DeepSupervision | None = None

    def one_pass(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        return torch.sigmoid(self.unet(self.normaliser(image)).float())  # [N,K,H,W]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        image = self.normaliser(batch.image)
        name = self.loss_on_masks
        if self.deep_supervision is None or not isinstance(self.unet, NnUnet):
            logits = self.unet(image).float()
            return {name: mask_loss(name, logits, batch.mask), **self._taught(batch, logits)}
        levels = self.unet.levels(image)
        heads = [self.unet.output(levels[0]), *self.deep_supervision(levels)]
        weights = [0.5**number for number in range(len(heads))]  # 1, 1/2, 1/4, as shares of one
        terms = [
            weight / sum(weights) * mask_loss(name, logits.float(), reduced(batch.mask, logits.shape[2:]))
            for weight, logits in zip(weights, heads, strict=True)
        ]
        return {name: torch.stack(terms).sum(), **self._taught(batch, heads[0])}

    def _taught(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        if batch.teacher is None or self.distillation is None:
            return {}
        return taught_losses(self.distillation, batch.teacher, logits=logits)

    def parts(self) -> dict[str, nn.Module]:
        return {"unet": self.unet}
