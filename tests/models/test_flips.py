"""Test-time flips: the mean over mirrored passes, in PyTorch and in one graph alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdseg.artifacts.image_contract import ImageContract
from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.backends.torch import TorchBackend
from sdseg.core.array_types import AnyArray
from sdseg.export.tracing import export_graph
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.segmenter import Segmenter
from tests.helpers.networks import CODEC, direct_recipe, quick_recipe
from tests.helpers.tiny import CT, RGB, describe, picture

GAUSSIAN = {"diffusion": {"inference_noise": "gaussian"}}


def segmenter(flips: str, image: ImageContract = RGB, *, direct: bool = False, **more: Any) -> Segmenter:
    torch.manual_seed(0)
    if direct:
        return build_segmenter(direct_recipe(inference={"flips": flips}), image, 1).eval()
    chosen = quick_recipe(inference={"flips": flips, **more.pop("inference", {})}, **more)
    return build_segmenter(chosen, image, 1, CODEC, 0.7).eval()


def images(image: ImageContract) -> AnyArray:
    return np.stack([picture(image, seed)[0] for seed in range(3)])


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize(("flips", "turned"), [("horizontal", ((), (2,))), ("both", ((), (2,), (1,), (1, 2)))])
def test_the_mean_of_the_passes_by_hand(flips: str, turned: tuple[tuple[int, ...], ...], direct: bool) -> None:
    raw, plain = images(RGB), TorchBackend(segmenter("none", direct=direct), RGB)
    passes = []
    for axes in turned:
        answer = plain.probability(np.ascontiguousarray(np.flip(raw, axes)))
        passes.append(np.flip(answer, tuple(axis + 1 for axis in axes)))
    found = TorchBackend(segmenter(flips, direct=direct), RGB).probability(raw)
    # Another batch: other kernels, and other roundings of some CPUs.
    np.testing.assert_allclose(found, np.mean(passes, axis=0), atol=1e-5)
    assert np.abs(found - passes[0]).max() > 1e-4


@pytest.mark.parametrize("direct", [True, False])
def test_mirrored_images_have_mirrored_answers(direct: bool) -> None:
    raw, backend = images(RGB), TorchBackend(segmenter("both", direct=direct), RGB)
    for axis in (1, 2):
        turned = backend.probability(np.ascontiguousarray(np.flip(raw, axis)))
        np.testing.assert_allclose(np.flip(turned, axis + 1), backend.probability(raw), atol=1e-5)


def test_every_pass_starts_from_the_same_noise() -> None:
    """Were it flipped with the image, mirrored images would have mirrored answers here too."""
    flipping = segmenter("horizontal", **GAUSSIAN)
    raw, noise = torch.from_numpy(images(RGB)), torch.randn(3, *(flipping.noise_shape or ()))
    with torch.inference_mode():
        expected = (flipping.one_pass(raw, noise) + flipping.one_pass(raw.flip(2), noise).flip(3)) / 2
        torch.testing.assert_close(flipping(raw, noise), expected)
        turned = (flipping.one_pass(raw, noise) + flipping.one_pass(raw.flip(2), noise.flip(3)).flip(3)) / 2
        assert not torch.allclose(flipping(raw, noise), turned, atol=1e-4)


@pytest.mark.parametrize("image", [RGB, CT])
def test_one_graph_does_them_all(tmp_path: Path, image: ImageContract) -> None:
    """The networks are in it once: the flips are one batch."""
    latent = GAUSSIAN if image is CT else {"direct": True}
    flipping = segmenter("both", image, **latent)
    described = describe(image, noise_shape=flipping.noise_shape).model_copy(update={"flips": "both"})
    written = export_graph(flipping, described, tmp_path / "graph.onnx")
    assert written.flips == "both"
    expected = TorchBackend(flipping, image, noise_shape=flipping.noise_shape).probability(images(image))
    found = OnnxBackend(tmp_path / "graph.onnx").probability(images(image))
    np.testing.assert_allclose(found, expected, atol=2e-5)
    weights = sum(value.numel() for value in flipping.state_dict().values())
    assert (tmp_path / "graph.onnx").stat().st_size < 6 * weights + 400_000
