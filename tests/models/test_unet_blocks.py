"""Blocks of U-Nets are MONAI's: names of weights, weights of a seed, what they compute and their gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetUpBlock
from monai.networks.nets.basic_unet import Down, TwoConv
from torch import Tensor, nn

from sdseg.models.unet_blocks import ConvolutionPair, NormalisedPair, PooledPair, UpsamplingBlock

NORM = ("instance", {"affine": True})
ACTIVATION = ("LeakyReLU", {"negative_slope": 0.1, "inplace": True})
BLOCKS: dict[str, tuple[Callable[[float], nn.Module], Callable[[float], nn.Module]]] = {
    "pair": (lambda rate: ConvolutionPair(5, 6, rate), lambda rate: TwoConv(2, 5, 6, ACTIVATION, NORM, True, rate)),
    "pooled": (lambda rate: PooledPair(5, 6, rate), lambda rate: Down(2, 5, 6, ACTIVATION, NORM, True, rate)),
    "normalised": (
        lambda rate: NormalisedPair(5, 6, 1, rate),
        lambda rate: UnetBasicBlock(2, 5, 6, 3, 1, NORM, dropout=rate or None),
    ),
    "strided": (
        lambda rate: NormalisedPair(5, 6, 2, rate),
        lambda rate: UnetBasicBlock(2, 5, 6, 3, 2, NORM, dropout=rate or None),
    ),
    "upsampling": (
        lambda rate: UpsamplingBlock(5, 3, rate),
        lambda rate: UnetUpBlock(2, 5, 3, 3, 1, 2, NORM, dropout=rate or None),
    ),
}


def seeded(make: Callable[[float], nn.Module], rate: float, inputs: list[Tensor]) -> tuple[nn.Module, Tensor]:
    """A block, and what it makes of the inputs in training."""
    torch.manual_seed(0)
    block = make(rate).train()
    return block, block(*(each.clone() for each in inputs))


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_monais_to_the_bit(name: str, rate: float) -> None:
    inputs = [torch.randn(2, 5, 8, 8, generator=torch.Generator().manual_seed(1))]
    if name == "upsampling":
        inputs.append(torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2)))
    (ours, computed), (theirs, expected) = (seeded(make, rate, inputs) for make in BLOCKS[name])
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert torch.equal(computed, expected)
    for each in (computed, expected):
        each.square().sum().backward()
    for (key, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert torch.equal(one, other), key
        assert one.grad is not None, key
        assert torch.equal(one.grad, other.grad), key
    assert torch.equal(*(block.eval()(*inputs) for block in (ours, theirs)))
