"""Image -> probability of every structure: the ONE forward shared by training, evaluation and export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sdseg.artifacts import ImageContract
from sdseg.errors import UserError
from sdseg.model import diffusion
from sdseg.model.codecs import MaskCodec, MaskDecoder
from sdseg.model.denoiser import ConditionalDenoiser, ImageEncoder
from sdseg.model.normaliser import Normaliser
from sdseg.networks import Codec, DirectNetwork, LatentNetwork
from sdseg.recipes import Recipe

if TYPE_CHECKING:
    from sdseg.recipes import Diffusion

__all__ = ["Batch", "DirectSegmenter", "LatentSegmenter", "Segmenter", "build_segmenter", "start_from_codec"]


@dataclass(frozen=True)
class Batch:
    """What one training step sees. Everything random was drawn beforehand, per sample, from the sample's own seed."""

    image: Tensor  # [N,H,W,C] raw values
    mask: Tensor  # [N,K,H,W] in {0,1}
    structure: Tensor  # [N] int64: which of the K structures this sample trains (latent method)
    latent: Tensor | None  # [N,c,h,w] scaled latent of that structure's mask
    noise: Tensor | None  # [N,c,h,w] standard normal
    uniform: Tensor | None  # [N] in [0,1), for the timestep


class Segmenter(nn.Module):
    """Common face of all methods. `noise_shape` is (c,h,w) of the noise that `forward` wants, or None."""

    noise_shape: tuple[int, int, int] | None = None

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """Raw images [N,H,W,C] -> probability float32 [N,K,H,W] in [0,1]."""
        raise UserError("this segmenter has no forward", remedy="use build_segmenter")

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms of one batch, scalars; training minimises their sum."""
        raise UserError("this segmenter has no losses", remedy="use build_segmenter")

    def parts(self) -> dict[str, nn.Module]:
        """The parts by name, for counting parameters."""
        return dict(self.named_children())


class LatentSegmenter(Segmenter):
    """Condition encoder, one UNet pass at t = T−1, estimate of z_0, mask decoder (SDSeg)."""

    def __init__(
        self, network: LatentNetwork, process: Diffusion, image: ImageContract, structures: int, decoder: MaskDecoder
    ) -> None:
        super().__init__()
        channels = decoder.post_quant_conv.in_channels
        side = image.size // network.condition.factor
        self.process = process
        self.structures = structures
        self.latent_shape = (channels, side, side)
        self.normaliser = Normaliser(image)
        self.condition_encoder = ImageEncoder(network.condition)
        self.denoiser = ConditionalDenoiser(network.denoiser, channels, network.condition.latent_channels, structures)
        self.decoder = decoder.requires_grad_(False)
        if not network.condition.trainable:
            self.condition_encoder.encoder.requires_grad_(False)
        if process.inference_noise == "gaussian":
            self.noise_shape = self.latent_shape
        self.register_buffer("alphas_cumprod", diffusion.alphas_cumprod(process).float(), persistent=False)
        self.alphas_cumprod: Tensor
        # One noise for every image, part of the weights, so that every backend starts from the same (official code).
        fixed = torch.randn(self.latent_shape, generator=torch.Generator().manual_seed(0))
        self.register_buffer("fixed_noise", fixed, persistent=process.inference_noise == "fixed")
        self.fixed_noise: Tensor

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        # 1. Normalise and encode the condition.
        condition = self.condition_encoder(self.normaliser(image))  # [N,c',h,w]

        # 2. Start from pure noise (or none) at the last timestep.
        start = self._start(condition, noise)  # [N,c,h,w]
        last = self.process.timesteps - 1
        timesteps = torch.full((image.shape[0],), last, dtype=torch.int64, device=image.device)
        alpha_bar = self.alphas_cumprod[last]

        # 3. One pass, one estimate of z_0, one decoding per structure.
        found = []
        for index in range(self.structures):
            structure = torch.full_like(timesteps, index) if self.structures > 1 else None
            prediction = self.denoiser(start, condition, timesteps, structure).float()
            latent = diffusion.clean_latent(prediction, start, alpha_bar, self.process.prediction)
            found.append(self.decoder(latent))  # [N,1,H,W]
        return torch.cat(found, dim=1).float()  # [N,K,H,W]

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
        condition = self.condition_encoder(self.normaliser(batch.image))
        structure = batch.structure if self.structures > 1 else None
        prediction = self.denoiser(noisy, condition, timesteps, structure).float()
        terms = diffusion.losses(prediction, batch.latent, noise, noisy, alpha_bar, process)
        weights = {"noise": process.loss_noise, "latent": process.loss_latent}
        return {name: weights[name] * term for name, term in terms.items()}

    def _start(self, condition: Tensor, noise: Tensor | None) -> Tensor:
        """z_T for a batch, according to `inference_noise`."""
        count = condition.shape[0]
        if self.process.inference_noise == "gaussian":
            if noise is None:
                raise UserError("this recipe starts from Gaussian noise", remedy="give 'noise' [N,c,h,w]")
            return noise
        if self.process.inference_noise == "fixed":
            return self.fixed_noise.unsqueeze(0).expand(count, -1, -1, -1)
        return torch.zeros_like(self.fixed_noise).unsqueeze(0).expand(count, -1, -1, -1)


class DirectSegmenter(Segmenter):
    """A plain U-Net with one sigmoid per structure, trained with Dice + cross entropy: the baseline."""

    def __init__(self, network: DirectNetwork, image: ImageContract, structures: int) -> None:
        super().__init__()
        from monai.losses.dice import DiceCELoss
        from monai.networks.nets.unet import UNet

        self.normaliser = Normaliser(image)
        self.unet = UNet(
            spatial_dims=2,
            in_channels=3,
            out_channels=structures,
            channels=network.channels,
            strides=(2,) * (len(network.channels) - 1),
            num_res_units=network.residual_units,
            norm=network.norm,
            dropout=network.dropout,
        )
        self._loss = DiceCELoss(sigmoid=True, batch=True)

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        return torch.sigmoid(self.unet(self.normaliser(image)).float())  # [N,K,H,W]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"dice_ce": self._loss(self.unet(self.normaliser(batch.image)).float(), batch.mask.float())}

    def parts(self) -> dict[str, nn.Module]:
        return {"unet": self.unet}


def build_segmenter(
    recipe: Recipe, image: ImageContract, structures: int, codec: Codec | None = None, scale: float | None = None
) -> Segmenter:
    """The untrained segmenter that a recipe describes. The latent method needs the codec's layout and scale."""
    if isinstance(recipe.network, DirectNetwork):
        return DirectSegmenter(recipe.network, image, structures)
    if codec is None or scale is None or recipe.diffusion is None:
        raise UserError("a latent-diffusion recipe needs a mask codec", remedy="give the folder made by 'sdseg codec'")
    decoder = MaskDecoder(codec, codec.latent_channels, scale)
    return LatentSegmenter(recipe.network, recipe.diffusion, image, structures, decoder)


def start_from_codec(segmenter: LatentSegmenter, network: LatentNetwork, codec: MaskCodec) -> None:
    """Take over the codec's decoder and, where the recipe says so, its encoder."""
    segmenter.decoder.load_state_dict(MaskDecoder.of(codec).state_dict())
    if network.condition.init == "codec":
        segmenter.condition_encoder.start_from(codec)
