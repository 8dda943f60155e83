"""Norm and activation taken together: the same numbers and gradients to the bit, without autograd's copies."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from sdseg.config.direct_network import BasicUnet, DynUnet
from sdseg.config.network import UnetConditionEncoder
from sdseg.models.image_encoder import ImageEncoder
from sdseg.models.joined_norms import join_norms
from sdseg.models.unets import build_unet

PATCH = (8, 16, 16)
BASIC = {"kind": "direct", "architecture": "basic-unet", "channels": (4, 4, 6, 6, 8)}
DYN = {"kind": "direct", "architecture": "dynunet", "channels": (4, 6, 8)}


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A network with new weights, and what enters it."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    if name == "encoder":
        return ImageEncoder(UnetConditionEncoder(architecture="unet", block_out_channels=(4, 6), dropout=0.3)), images
    if name == "basic":
        return build_unet(BasicUnet.model_validate(BASIC), 1), images
    dropout, norm = (0.3 if name == "dropout" else 0.0), ("batch" if name == "batch" else "instance")
    volumes = name == "volumes"
    settings = DynUnet.model_validate(DYN | {"dropout": dropout, "norm": norm, "dimensions": 3 if volumes else 2})
    return build_unet(settings, 1, PATCH if volumes else None), torch.randn(2, 3, *PATCH) if volumes else images


def output_of(network: nn.Module, image: Tensor) -> Tensor:
    torch.manual_seed(1)  # of the dropout
    made = network(image)
    return made[0] if isinstance(made, tuple) else made


def copies(output: Tensor) -> int:
    """How often autograd copies features that an operation overwrites as a view."""
    waiting: list[Node | None] = [output.grad_fn]
    visited: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in visited:
            visited.add(node)
            waiting += [each for each, _ in node.next_functions]
    return sum("CopySlices" in node.name() for node in visited)


@pytest.mark.parametrize("name", ["basic", "dynunet", "dropout", "volumes"])
def test_joined_norms_give_the_same_bits_without_a_copy(name: str) -> None:
    plain, image = network(name)
    joined = copy.deepcopy(plain)
    join_norms(joined)
    expected, computed = (output_of(each.train(), image) for each in (plain, joined))
    assert torch.equal(computed, expected)
    assert copies(expected) > 0
    assert copies(computed) == 0
    for each in (computed, expected):
        each.square().sum().backward()
    for (key, one), (_, other) in zip(joined.named_parameters(), plain.named_parameters(), strict=True):
        assert one.grad is not None, key
        assert other.grad is not None, key
        assert torch.equal(one.grad, other.grad), key


@pytest.mark.parametrize("name", ["encoder", "batch"])
def test_dropout_in_between_or_another_norm_stays_as_it_is(name: str) -> None:
    plain, image = network(name)
    joined = copy.deepcopy(plain)
    join_norms(joined)
    assert not any("forward" in vars(each) for each in joined.modules())
    assert torch.equal(*(output_of(each.train(), image) for each in (plain, joined)))


def test_one_pixel_is_refused_as_ever() -> None:
    plain, _ = network("dynunet")
    join_norms(plain)
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        plain.train()(torch.randn(1, 3, 4, 4))
