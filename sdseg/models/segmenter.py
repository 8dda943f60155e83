"""Image -> probability of every structure: the ONE forward shared by training, evaluation and export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sdseg.artifacts.manifests import ImageContract
from sdseg.config.direct_network import AnyDirectNetwork, DirectNetwork, DynUnet
from sdseg.config.network import Codec, LatentNetwork, check_codec
from sdseg.config.recipe import Flips, Inference, MaskLoss, Recipe
from sdseg.core.errors import UserError
from sdseg.models import diffusion
from sdseg.models.alignment import FeatureAlignment, VisionEncoder, features_of
from sdseg.models.codec import MaskCodec, MaskDecoder, mask_logits, mask_probability
from sdseg.models.denoiser import ConditionalDenoiser
from sdseg.models.flips import over_flips
from sdseg.models.image_encoder import ImageEncoder
from sdseg.models.label_classes import LabelClasses
from sdseg.models.losses import mask_loss, reduced
from sdseg.models.normaliser import Normaliser
from sdseg.models.refinement import MaskRefinement
from sdseg.models.unets import DeepSupervision, NnUnet, build_unet

if TYPE_CHECKING:
    from sdseg.config.recipe import Diffusion

__all__ = [
    "Batch",
    "DirectSegmenter",
    "LatentSegmenter",
    "Segmenter",
    "attach_training_parts",
    "build_segmenter",
    "own_masks",
    "start_from_codec",
]

TRAINING_ONLY = ("alignment", "deep_supervision")  # names of parts that no model folder holds


@dataclass(frozen=True)
class Batch:
    """What one training step sees. Everything random was drawn beforehand, per sample, from the sample's own seed."""

    image: Tensor  # [N,H,W,C] raw values
    mask: Tensor  # [N,K,H,W] in {0,1}
    structure: Tensor  # [N] int64: which of the K structures this sample trains (latent method, one a pass)
    latent: Tensor | None  # [N,c,h,w] scaled latent of that structure's mask, or of the whole label map
    noise: Tensor | None  # [N,c,h,w] standard normal
    uniform: Tensor | None  # [N] in [0,1), for the timestep
    step: int = 1  # number of the optimiser step, from 1: losses may change over the run

    def encoded_masks(self, at_once: int) -> Tensor:
        """The masks that `latent` stands for, [N,1,H,W] or [N,K,H,W]; `at_once` as of the codec."""
        return own_masks(self.mask, self.structure, at_once)


def own_masks(masks: Tensor, structure: Tensor, at_once: int) -> Tensor:
    """Of masks [N,K,H,W] what a codec of `at_once` structures encodes: each sample's structure, or all of them."""
    if at_once > 1:
        return masks
    return masks[torch.arange(len(masks), device=masks.device), structure].unsqueeze(1)


class Segmenter(nn.Module):
    """Common face of all methods. `noise_shape` is (c,h,w) of the noise that `forward` wants, or None."""

    noise_shape: tuple[int, int, int] | None = None
    samples: int = 1  # hypotheses S of an image; 0: their mean alone can be had
    flips: Flips = "none"

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """Raw images [N,H,W,C] -> probability float32 [N,K,H,W] in [0,1]: the mean over the flips, turned back.

        Every pass starts from the same noise in the same layout: it is not flipped with the image.
        """
        return over_flips(self.one_pass, self.flips, image, noise)

    def hypotheses(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """Every hypothesis by itself, float32 [N,S,K,H,W]; `forward` is their mean. S = 1 where none is drawn."""
        return over_flips(self.one_pass_hypotheses, self.flips, image, noise)

    def one_pass(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """Raw images [N,H,W,C] -> probability float32 [N,K,H,W] in [0,1], of the images as they are."""
        raise UserError("this segmenter has no forward", remedy="use build_segmenter")

    def one_pass_hypotheses(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """The same, every hypothesis by itself: [N,S,K,H,W]."""
        return self.one_pass(image, noise).unsqueeze(1)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms of one batch, scalars; training minimises their sum."""
        raise UserError("this segmenter has no losses", remedy="use build_segmenter")

    def parts(self) -> dict[str, nn.Module]:
        """The parts by name, for counting parameters."""
        return {name: part for name, part in self.named_children() if name not in TRAINING_ONLY}

    def weights(self) -> dict[str, Tensor]:
        """What inference needs of the state: what a model folder holds. Parts that only training has are left out."""
        return {name: value for name, value in self.state_dict().items() if name.partition(".")[0] not in TRAINING_ONLY}


class LatentSegmenter(Segmenter):
    """Condition encoder, one or several UNet passes from t = T−1, estimate of z_0, mask decoder (SDSeg)."""

    def __init__(
        self,
        network: LatentNetwork,
        process: Diffusion,
        image: ImageContract,
        structures: int,
        decoder: MaskDecoder,
        inference: Inference | None = None,
        loss_on_masks: MaskLoss = "dice_ce",
        classes: LabelClasses | None = None,
    ) -> None:
        """`classes`: of a decoder that gives their logits; None where it draws one structure's mask."""
        super().__init__()
        channels = decoder.post_quant_conv.in_channels
        side = image.size // network.condition.factor
        inference = inference or Inference()
        self.process = process
        self.loss_on_masks = loss_on_masks
        self.classes = classes
        self.passes = structures if network.classes == "per-class" else 1  # of the denoiser, for all structures
        self.samples = inference.samples
        self.plan = diffusion.reverse_steps(process, inference.steps)
        self.latent_shape = (channels, side, side)
        self.normaliser = Normaliser(image)
        self.condition_encoder = ImageEncoder(network.condition)
        self.denoiser = ConditionalDenoiser(
            network.denoiser, channels, network.condition.latent_channels, self.passes, network.coarser_channels
        )
        self.decoder = decoder.requires_grad_(network.decoder == "trained")
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
            latent = start
            for step in self.plan:
                timesteps = torch.full((condition.shape[0],), step.start, dtype=torch.int64, device=image.device)
                structure = torch.full_like(timesteps, index) if self.passes > 1 else None
                prediction = self.denoiser(latent, condition, timesteps, structure, coarser).float()
                latent = diffusion.reverse(prediction, latent, step, self.alphas_cumprod, self.process.prediction)
            probabilities.append(mask_probability(self._decoded(latent, levels), self.classes))  # [N·S,1 or K,H,W]
        return torch.cat(probabilities, dim=1).float()  # [N·S,K,H,W]

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
        weight = diffusion.mask_weight(batch.step, process)
        if weight:
            clean = diffusion.clean_latent(prediction, noisy, alpha_bar, process.prediction)
            own = batch.encoded_masks(1 if self.classes is None else self.classes.structures)
            logits = mask_logits(self._decoded(clean, levels), self.classes)
            weighted["mask"] = weight * mask_loss(self.loss_on_masks, logits, own)
        if self.alignment is not None:
            weighted["alignment"] = self.alignment(features[0], image)
        return weighted

    def _encoded(self, image: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """z_c [N,c',h,w] of normalised images, and the coarser and finer features that denoiser and decoding see."""
        if self.refinement is None:
            return *self.condition_encoder(image), []
        with features_of(*self.condition_encoder.finer_levels) as levels:
            return *self.condition_encoder(image), levels

    def _decoded(self, latent: Tensor, levels: list[Tensor]) -> Tensor:
        """The mask of a latent as an image [N,3,H,W], about −1 outside and 1 inside; of classes their logits."""
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


class DirectSegmenter(Segmenter):
    """A plain U-Net with one sigmoid per structure, trained on the mask: what the latent method is held against."""

    def __init__(
        self,
        network: AnyDirectNetwork,
        image: ImageContract,
        structures: int,
        loss_on_masks: MaskLoss = "dice_ce",
    ) -> None:
        super().__init__()
        self.loss_on_masks = loss_on_masks
        self.normaliser = Normaliser(image)
        self.unet = build_unet(network, structures)
        self.deep_supervision: DeepSupervision | None = None

    def one_pass(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        return torch.sigmoid(self.unet(self.normaliser(image)).float())  # [N,K,H,W]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        image = self.normaliser(batch.image)
        name = self.loss_on_masks
        if self.deep_supervision is None or not isinstance(self.unet, NnUnet):
            return {name: mask_loss(name, self.unet(image).float(), batch.mask)}
        levels = self.unet.levels(image)
        heads = [self.unet.output(levels[0]), *self.deep_supervision(levels)]
        weights = [0.5**number for number in range(len(heads))]  # 1, 1/2, 1/4, as shares of one
        terms = [
            weight / sum(weights) * mask_loss(name, logits.float(), reduced(batch.mask, logits.shape[-1]))
            for weight, logits in zip(weights, heads, strict=True)
        ]
        return {name: torch.stack(terms).sum()}

    def parts(self) -> dict[str, nn.Module]:
        return {"unet": self.unet}


def build_segmenter(
    recipe: Recipe,
    image: ImageContract,
    structures: int,
    codec: Codec | None = None,
    scale: float | None = None,
    classes: LabelClasses | None = None,
) -> Segmenter:
    """The untrained segmenter that a recipe describes. The latent method needs the codec's layout and scale.

    `classes` are those of a codec that encodes label maps; left out, no two structures overlap.
    """
    if codec is None or codec.encodes != "labels":
        classes = None
    elif classes is None:
        classes = LabelClasses.separate(structures)
    segmenter = _networks_of(recipe, image, structures, codec, scale, classes)
    segmenter.flips = recipe.inference.flips
    return segmenter


def _networks_of(
    recipe: Recipe,
    image: ImageContract,
    structures: int,
    codec: Codec | None,
    scale: float | None,
    classes: LabelClasses | None,
) -> Segmenter:
    if isinstance(recipe.network, DirectNetwork):
        return DirectSegmenter(recipe.network, image, structures, recipe.training.mask_loss)
    if codec is None or scale is None or recipe.diffusion is None:
        raise UserError("a latent-diffusion recipe needs a mask codec", remedy="give the folder made by 'sdseg codec'")
    check_codec(recipe.network, codec.encodes, "the codec of the model", structures=structures)
    decoder = MaskDecoder(codec, codec.latent_channels, scale, classes)
    settings = (recipe.network, recipe.diffusion, image, structures, decoder, recipe.inference)
    return LatentSegmenter(*settings, loss_on_masks=recipe.training.mask_loss, classes=classes)


def attach_training_parts(segmenter: Segmenter, network: LatentNetwork | DirectNetwork, structures: int) -> None:
    """Add what training alone has, where the recipe asks for it: alignment, deep supervision. After weights are loaded.

    Raises UserError for a vision encoder that cannot be used.
    """
    if isinstance(network, LatentNetwork) and isinstance(segmenter, LatentSegmenter) and network.alignment is not None:
        channels = network.denoiser.block_out_channels[-1]
        segmenter.alignment = FeatureAlignment(VisionEncoder(network.alignment), channels)
    if isinstance(network, DynUnet) and isinstance(segmenter, DirectSegmenter) and network.deep_supervision:
        segmenter.deep_supervision = DeepSupervision(network, structures)


def start_from_codec(segmenter: LatentSegmenter, codec: MaskCodec, images: MaskCodec | None = None) -> None:
    """Take over the codec's decoder and, where the recipe says so, its encoder, or that of a codec of `images`."""
    segmenter.decoder.load_state_dict(MaskDecoder.of(codec).state_dict())
    segmenter.condition_encoder.start_from(images or codec)
