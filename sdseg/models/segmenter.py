"""Image -> probability of every structure: the ONE forward shared by training, evaluation and export."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sdseg.config.inference import Flips
from sdseg.config.patches import SlidingWindow
from sdseg.core.errors import UserError
from sdseg.models.flips import over_flips
from sdseg.models.matching import TeacherAnswer

__all__ = ["Batch", "Segmenter", "own_masks"]

TRAINING_ONLY = ("alignment", "deep_supervision")  # names of parts that no model folder holds


@dataclass(frozen=True)
class Batch:
    """What one training step sees. Everything random was drawn beforehand, per sample, from the sample's own seed.

    Of patches of volumes there is a D before H and W.
    """

    image: Tensor  # [N,H,W,C] raw values
    mask: Tensor  # [N,K,H,W] in {0,1}
    structure: Tensor  # [N] int64: which of the K structures this sample trains (latent method, one a pass)
    latent: Tensor | None  # [N,c,h,w] scaled latent of that structure's mask, or of the whole label map
    noise: Tensor | None  # [N,c,h,w] standard normal
    uniform: Tensor | None  # [N] in [0,1), for the timestep
    step: int = 1  # number of the optimiser step, from 1: losses may change over the run
    teacher: TeacherAnswer | None = None  # of a student's teacher, to the same images

    def encoded_masks(self, at_once: int) -> Tensor:
        """The masks that `latent` stands for, [N,1,H,W] or [N,K,H,W]; `at_once` as of the codec."""
        return own_masks(self.mask, self.structure, at_once)


def own_masks(masks: Tensor, structure: Tensor, at_once: int) -> Tensor:
    """Of masks [N,K,H,W] what a codec of `at_once` structures encodes: each sample's structure, or all of them."""
    if at_once > 1:
        return masks
    return masks[torch.arange(len(masks), device=masks.device), structure].unsqueeze(1)


class Segmenter(nn.Module):
    """Common face of all methods. `noise_shape` is (c,h,w) of the noise that `forward` wants, or None.

    A three-dimensional one has a `sliding_window`: its images are the patches of that, with a D before every H.
    """

    noise_shape: tuple[int, ...] | None = None
    samples: int = 1  # hypotheses S of an image; 0: their mean alone can be had
    flips: Flips = "none"
    planes: int = 3  # channels of a slice as the networks see it
    sliding_window: SlidingWindow | None = None

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
