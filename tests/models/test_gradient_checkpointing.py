"""Blocks computed again in the backward pass give the same loss and the same gradients, dropout included."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sdseg.config.recipe import Recipe
from sdseg.models.build_segmenter import attach_training_parts, build_segmenter
from sdseg.models.gradient_checkpointing import recompute_blocks
from sdseg.models.segmenter import Batch
from tests.helpers.networks import CLASSIC, CODEC, DIRECT, direct_recipe, recipe
from tests.helpers.tiny import RGB

END_TO_END = {"train_timesteps": "last", "train_noise": "zero", "loss_mask": 1.0}
DROPOUT = {"condition": {"dropout": 0.2}, "denoiser": {"dropout": 0.2}}
CROSS = {"architecture": "stable-diffusion", "context": "image", "context_channels": 8}
RECIPES = {
    "through the decoder": recipe(network=DROPOUT, diffusion=END_TO_END),
    "cross-attention": recipe(network={"denoiser": CROSS}),
    "skips": recipe(network={"condition": {**CLASSIC, "dropout": 0.2}, "decoder": "skips"}, diffusion=END_TO_END),
    **{name: direct_recipe(network={**network, "dropout": 0.2}) for name, network in DIRECT.items()},
    "residual": direct_recipe(network={"residual_units": 2}),
}


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        image=torch.randint(0, 255, (2, 32, 32, 3), dtype=torch.uint8, generator=generator),
        mask=(torch.rand(2, 1, 32, 32, generator=generator) > 0.7).float(),
        structure=torch.zeros(2, dtype=torch.int64),
        latent=torch.randn(2, 4, 16, 16, generator=generator),
        noise=torch.randn(2, 4, 16, 16, generator=generator),
        uniform=torch.rand(2, generator=generator),
    )


def gradients(chosen: Recipe, *, again: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor], int]:
    """Loss, gradients, and how many tensors autograd keeps."""
    torch.manual_seed(0)
    made = build_segmenter(chosen, RGB, 1, CODEC, 0.7)
    attach_training_parts(made, chosen.network, 1)
    if again:
        recompute_blocks(made)
    kept: list[Any] = []
    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(0) or tensor, lambda tensor: tensor):
        loss = torch.stack(list(made.train().losses(batch()).values())).sum()
    loss.backward()
    return (
        loss.detach(),
        {name: each.grad for name, each in made.named_parameters() if each.grad is not None},
        len(kept),
    )


@pytest.mark.parametrize("name", RECIPES)
def test_loss_and_gradients_are_the_same(name: str) -> None:
    loss, plain, kept = gradients(RECIPES[name], again=False)
    other, recomputed, fewer = gradients(RECIPES[name], again=True)
    assert torch.equal(loss, other)
    assert plain.keys() == recomputed.keys()
    for key, gradient in plain.items():
        torch.testing.assert_close(recomputed[key], gradient, rtol=1e-5, atol=1e-7, msg=key)
    assert fewer < 0.6 * kept


def test_the_network_that_is_kept_is_left_alone() -> None:
    made = build_segmenter(RECIPES["skips"], RGB, 1, CODEC, 0.7).eval()
    names = list(made.state_dict())
    with torch.inference_mode():
        before = made(batch().image)
        recompute_blocks(made)
        assert torch.equal(made(batch().image), before)
    assert list(made.state_dict()) == names
