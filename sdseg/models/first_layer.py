"""The first convolution of a network that sees more than the one its weights come from: more channels, more slices.

What it saw it sees as before. Nothing else changes until training: what is new weighs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import pad

from sdseg.config.network import MOST_NEIGHBOURS

__all__ = ["widened"]


def widened(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor], planes: int, own_planes: int
) -> dict[str, Tensor]:
    """`weights` with the kernels [O,C,…] that see the image fitted to those of `own`, which sees more of it.

    The kernels of the first three channels stay, those of further ones are zero. Where there are two for three colours,
    the second gets the sum of the others: channels that are all alike give what a grey image gave. Slices above and
    below get zeros. `planes` and `own_planes`: channels of a slice, before and now. What does not fit stays as it is.
    """
    seeing = [
        name
        for name, value in own.items()
        if name in weights
        and value.ndim >= 4
        and value.shape != weights[name].shape
        and _slices(weights[name], planes)
        and _slices(value, own_planes)
    ]
    return dict(weights) | {name: _fitted(weights[name], own[name], planes, own_planes) for name in seeing}


def _slices(kernel: Tensor, planes: int) -> int:
    """How many slices of so many channels a kernel sees; 0: it does not see an image."""
    count, rest = divmod(kernel.shape[1], planes)
    return count if not rest and count % 2 and count <= 2 * MOST_NEIGHBOURS + 1 else 0


def _fitted(weight: Tensor, own: Tensor, planes: int, own_planes: int) -> Tensor:
    kernel = weight.reshape(weight.shape[0], -1, planes, *weight.shape[2:])  # [O,2k+1,P,…]
    if own_planes > planes:
        kernel = torch.cat([kernel, kernel.new_zeros(*kernel.shape[:2], own_planes - planes, *kernel.shape[3:])], dim=2)
    elif own_planes < planes:
        kept, others = kernel[:, :, :own_planes], kernel[:, :, own_planes:]
        kernel = torch.cat([kept[:, :, :-1], kept[:, :, -1:] + others.sum(dim=2, keepdim=True)], dim=2)
    added = _slices(own, own_planes) - kernel.shape[1]
    if added > 0:  # an even number: as many on either side
        kernel = pad(kernel, (*(0, 0) * (kernel.ndim - 2), added // 2, added // 2))
    return kernel.flatten(1, 2)
