"""Test-time flips: the mean of a network's answers to an image and its mirror images, turned back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sdseg.config.inference import Flips

__all__ = ["over_flips"]

# The axes that are turned round for each further pass: 0 rows, 1 columns.
MIRRORED: dict[Flips, tuple[tuple[int, ...], ...]] = {"none": (), "horizontal": ((1,),), "both": ((1,), (0,), (0, 1))}


def over_flips(
    one_pass: Callable[[Tensor, Tensor | None], Tensor], flips: Flips, image: Tensor, noise: Tensor | None
) -> Tensor:
    """`one_pass` takes raw images [N,H,W,C] and noise [N,c,h,w] and gives [N,…,H,W], and so does this. Of patches
    [N,D,H,W,C] rows and columns are turned round, and never the depth.

    Every pass starts from the same noise in the same layout: it is not flipped with the image.
    """
    if flips == "none":
        return one_pass(image, noise)
    # One batch [N·P,…], so that a graph holds the networks once.
    turned = MIRRORED[flips]
    images = torch.stack([image, *(image.flip([image.ndim - 3 + axis for axis in axes]) for axes in turned)], dim=1)
    if noise is not None:
        noise = noise.unsqueeze(1).expand(-1, 1 + len(turned), *[-1] * (noise.ndim - 1)).flatten(0, 1)
    answers = one_pass(images.flatten(0, 1), noise)
    answers = answers.reshape(-1, 1 + len(turned), *answers.shape[1:])  # [N,P,…,H,W]
    back = [answers[:, 1 + index].flip([axis - 2 for axis in axes]) for index, axes in enumerate(turned)]
    return torch.stack([answers[:, 0], *back]).mean(dim=0)
