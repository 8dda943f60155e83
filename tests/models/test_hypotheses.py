"""Hypotheses by themselves: their mean is the forward, each is what its own noise alone would give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sdseg.backends.averaged_models import EnsembleBackend
from sdseg.backends.base import hypotheses_of
from sdseg.backends.torch import TorchBackend
from sdseg.models.ensemble import EnsembleSegmenter
from sdseg.models.segmenter import Segmenter, build_segmenter
from tests.helpers.networks import CODEC, direct_recipe, recipe
from tests.helpers.tiny import RGB, Brightness, picture

SAMPLES = 3
GAUSSIAN = {"inference_noise": "gaussian", "prediction": "v"}


def build(samples: int = SAMPLES, flips: str = "none", structures: int = 2, seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    chosen = recipe(diffusion=GAUSSIAN, inference={"samples": samples, "flips": flips})
    return build_segmenter(chosen, RGB, structures, CODEC, 0.7).eval()


def fed(segmenter: Segmenter) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.from_numpy(np.stack([picture(RGB, seed)[0] for seed in range(2)]))
    generator = torch.Generator().manual_seed(1)
    return images, torch.randn((2, *(segmenter.noise_shape or ())), generator=generator)


@pytest.mark.parametrize("flips", ["none", "horizontal"])
@torch.inference_mode()
def test_each_is_what_its_own_noise_gives(flips: str) -> None:
    several, one = build(flips=flips), build(1, flips)
    images, noise = fed(several)
    found = several.hypotheses(images, noise)
    assert found.shape == (2, SAMPLES, 2, 32, 32)
    for number, own in enumerate(noise.chunk(SAMPLES, dim=1)):
        torch.testing.assert_close(found[:, number], one(images, own), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.mean(dim=1), several(images, noise), rtol=1e-5, atol=1e-6)
    assert (found[:, 0] - found[:, 1]).abs().max() > 1e-4


@torch.inference_mode()
def test_a_deterministic_method_has_one() -> None:
    direct = build_segmenter(direct_recipe(), RGB, 1).eval()
    images = fed(direct)[0]
    assert torch.equal(direct.hypotheses(images)[:, 0], direct(images))
    images_of = np.stack([picture(RGB, 0)[0]])
    backend = TorchBackend(Brightness(RGB), RGB)  # no segmenter of ours
    assert np.array_equal(backend.hypotheses(images_of)[:, 0], backend.probability(images_of))


@torch.inference_mode()
def test_an_ensemble_has_those_of_its_members() -> None:
    members: list[Any] = [build(seed=1), build(seed=2), build_segmenter(direct_recipe(), RGB, 2).eval()]
    images, noise = fed(members[0])
    together = EnsembleSegmenter(members)
    found = together.hypotheses(images, noise)
    assert found.shape[1] == 3 * SAMPLES
    torch.testing.assert_close(found.mean(dim=1), together(images, noise), rtol=1e-4, atol=1e-5)
    backends = [TorchBackend(member, RGB, noise_shape=member.noise_shape) for member in members]
    hypotheses = hypotheses_of(EnsembleBackend(backends))
    assert hypotheses is not None
    np.testing.assert_allclose(
        hypotheses(images.numpy()).mean(axis=1), EnsembleBackend(backends).probability(images.numpy()), atol=1e-5
    )
