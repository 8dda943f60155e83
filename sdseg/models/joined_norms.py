"""Instance norm and the activation after it as one, in training: the same numbers to the bit, in less time.

`instance_norm` gives a view, and an activation that overwrites a view makes autograd copy the features, and their
gradient once more on the way back. It also repeats its weights for every image by an operation that takes longer than
what follows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sdseg.models.unet_blocks import NormalisedPair

__all__ = ["join_norms"]

INSTANCE = (nn.InstanceNorm2d, nn.InstanceNorm3d)


def join_norms(module: nn.Module) -> None:
    """Let every block of U-Nets below `module`, MONAI's and ours, take its norms and activations together.

    For the copy that is trained: one that is averaged, validated or exported stays as it is, and so do blocks with
    another norm, another activation, or dropout between the two.
    """
    pairs: tuple[type[Any], ...] = (NormalisedPair,)
    monais = sys.modules.get("monai.networks.blocks.dynunet_block")
    if monais is not None:  # what is not imported has no block here
        pairs = (*pairs, monais.UnetBasicBlock)
    for block in module.modules():
        joined = _joined_forward(block, pairs)
        if joined is not None:
            block.forward = joined


def _joined_forward(block: Any, pairs: tuple[type[Any], ...]) -> Callable[[Tensor], Tensor] | None:
    """What the block computes, with norms and activations together; None where it has none that can be."""
    if isinstance(block, pairs):
        fit = all(_joined(norm, block.lrelu) for norm in (block.norm1, block.norm2))
        return partial(_pair, block) if fit else None
    if not isinstance(block, nn.Sequential):
        return None
    parts = dict(block.named_children())  # of what follows a convolution of `BasicUNet`: norm, dropout, activation
    norm, dropout, activation = (parts.get(name) for name in "NDA")
    none_dropped = dropout is None or getattr(dropout, "p", None) == 0
    if parts.keys() - {*"NDA"} or not none_dropped or not _joined(norm, activation):
        return None
    return partial(_activated, norm, activation)


def _joined(norm: object, activation: object) -> bool:
    """Whether the two can be taken together."""
    plain = isinstance(norm, INSTANCE) and norm.affine and not norm.track_running_stats
    return plain and isinstance(activation, nn.LeakyReLU) and activation.inplace


def _pair(block: Any, features: Tensor) -> Tensor:
    """What a `NormalisedPair`, or MONAI's `UnetBasicBlock`, gives."""
    once = _activated(block.norm1, block.lrelu, block.conv1(features))
    return _activated(block.norm2, block.lrelu, block.conv2(once))


def _activated(norm: Any, activation: Any, features: Tensor) -> Tensor:
    """activation(norm(features)) of [N,C,…]: each channel of each image is a channel of one large image."""
    images, channels, *spatial = features.shape
    if spatial.count(1) == len(spatial):  # nothing to normalise over: the norm says so
        return activation(norm(features))  # type: ignore[no-any-return]
    weight, bias = (each.expand(images, channels).reshape(-1) for each in (norm.weight, norm.bias))
    whole = features.contiguous().view(1, images * channels, *spatial)
    cudnn = torch.backends.cudnn.enabled
    normalised = torch.batch_norm(whole, weight, bias, None, None, True, norm.momentum, norm.eps, cudnn)
    joined: Tensor = activation(normalised)
    return joined.view(features.shape)
