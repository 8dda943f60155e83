"""Hypotheses by themselves: their mean is the forward, each is what its own noise alone would give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdseg.backends.averaged_models import EnsembleBackend
from sdseg.backends.base import hypotheses_of, why_mean_alone
from sdseg.backends.torch import TorchBackend
from sdseg.core.errors import UserError
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.ensemble import EnsembleSegmenter
from sdseg.models.equal_shares import equal_shares
from sdseg.models.segmenter import Segmenter
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
    torch.testing.assert_close(found.mean(dim=1), several(images, noise), rtol=1e-5, atol=1e-5)
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
    assert together.samples == EnsembleBackend(backends).samples == 3 * SAMPLES
    hypotheses = hypotheses_of(EnsembleBackend(backends))
    assert hypotheses is not None
    np.testing.assert_allclose(
        hypotheses(images.numpy()).mean(axis=1), EnsembleBackend(backends).probability(images.numpy()), atol=1e-5
    )


class Drawn(Segmenter):
    """As many hypotheses as are wanted, all from within."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples

    def one_pass_hypotheses(self, image: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        return torch.linspace(0, 1, self.samples).view(1, -1, 1, 1, 1).expand(len(image), -1, 1, 32, 32)

    def one_pass(self, image: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        return self.one_pass_hypotheses(image).mean(dim=1)


def test_members_that_cannot_count_alike_have_their_mean_alone() -> None:
    images = fed(build())[0]
    members = [Drawn(16), Drawn(5)]
    backend = EnsembleBackend([TorchBackend(member, RGB) for member in members])
    assert backend.samples == 0
    assert hypotheses_of(backend) is None
    assert why_mean_alone(backend).endswith("each must divide the largest (16, 5)")
    assert backend.probability(images.numpy()).shape == (2, 1, 32, 32)
    with pytest.raises(UserError, match=r"cannot count alike: each must divide the largest \(16, 5\)"):
        backend.hypotheses(images.numpy())
    together = EnsembleSegmenter(members)
    assert together.samples == 0
    assert hypotheses_of(TorchBackend(together, RGB)) is None
    with pytest.raises(UserError, match="cannot count alike"):
        together.hypotheses(images)


@given(st.lists(st.integers(1, 24), min_size=1, max_size=5))
def test_equal_shares_give_every_model_the_same_number_or_none(counts: list[int]) -> None:
    repeats = equal_shares(counts)
    if repeats is None:
        assert any(max(counts) % count for count in counts)
    else:
        assert {count * often for count, often in zip(counts, repeats, strict=True)} == {max(counts)}
