"""Graphs of lower precision: what they compute, what stays in fp32, and what overflows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from sdseg.errors import UserError
from sdseg.model.segmenter import Segmenter, build_segmenter
from sdseg.runtime.backends import TorchBackend
from sdseg.runtime.onnx_backend import OnnxBackend
from sdseg.runtime.onnx_graph import export_graph
from sdseg.runtime.precision import in_precision
from sdseg.runtime.providers import cannot_run
from sdseg.runtime.quantise import quantise
from tests.model.networks import CODEC, recipe
from tests.tiny import CT, describe, picture


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    settings = recipe(diffusion={"prediction": "epsilon", "inference_noise": "fixed"})
    return build_segmenter(settings, CT, 1, CODEC, 0.7).eval()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.stack([picture(CT, seed)[0] for seed in range(4)]).astype(np.float32)


def types(path: Path) -> dict[int, int]:
    found: dict[int, int] = {}
    for weight in onnx.load(str(path)).graph.initializer:
        found[weight.data_type] = found.get(weight.data_type, 0) + int(np.prod(weight.dims))
    return found


def test_fp16_graph(segmenter: Segmenter, images: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "model.fp16.onnx"
    export_graph(in_precision(segmenter, "fp16"), describe(CT).model_copy(update={"precision": "fp16"}), path)
    held = types(path)
    assert held[onnx.TensorProto.FLOAT16] > 0.9 * sum(held.values())
    backend = OnnxBackend(path)  # takes and gives float32, as the check of its ports demands
    assert backend.manifest.precision == "fp16"
    expected = TorchBackend(segmenter, CT).probability(images)
    assert np.ptp(expected) > 0.01
    found = backend.probability(images)
    assert 0 < np.abs(found - expected).max() < 0.02
    np.testing.assert_allclose(found, TorchBackend(in_precision(segmenter, "fp16"), CT).probability(images), atol=0.02)
    assert {value.dtype for value in segmenter.state_dict().values()} == {torch.float32}  # the original is as it was


def test_window_and_estimate_stay_in_single_precision(segmenter: Segmenter) -> None:
    lowered = in_precision(segmenter, "fp16")
    assert lowered.alphas_cumprod.dtype == torch.float32
    value = torch.full((1, 32, 32, 1), 2049.0)  # no half: the window of raw values must see it as it is
    assert torch.equal(lowered.normaliser(value), segmenter.normaliser(value))


def test_bf16_graph_is_refused_by_the_cpu(segmenter: Segmenter, tmp_path: Path) -> None:
    """The day this test fails, ONNX Runtime has learnt it, and `cannot_run` has to follow."""
    path = tmp_path / "model.bf16.onnx"
    with pytest.raises(UserError, match="cannot be written as an ONNX graph of operator set 21"):
        export_graph(in_precision(segmenter, "bf16"), describe(CT), path)
    described = describe(CT).model_copy(update={"precision": "bf16", "opset": 22})
    export_graph(in_precision(segmenter, "bf16"), described, path)
    assert types(path)[onnx.TensorProto.BFLOAT16] > 1000
    with pytest.raises(UserError, match="not an ONNX graph that can be run"):
        OnnxBackend(path)
    assert "no bf16" in str(cannot_run("cpu", "bf16"))
    assert cannot_run("cuda", "bf16") is cannot_run("cpu", "fp16") is None


def test_int8_graph(segmenter: Segmenter, images: np.ndarray, tmp_path: Path) -> None:
    source, target = tmp_path / "model.onnx", tmp_path / "model.int8.onnx"
    export_graph(segmenter, describe(CT), source)
    described = describe(CT).model_copy(update={"precision": "int8"})
    quantise(source, target, [{"image": images[:2]}, {"image": images[2:]}], described)
    assert OnnxBackend(target).manifest == described
    assert target.stat().st_size < source.stat().st_size
    assert types(target)[onnx.TensorProto.INT8] > 1000
    expected = onnxruntime.InferenceSession(str(source)).run(None, {"image": images})[0]
    found = OnnxBackend(target).probability(images)
    assert 0 < np.abs(found - expected).mean() < 0.05
    for batch in (1, 3):
        assert OnnxBackend(target).probability(images[:batch]).shape == (batch, 1, 32, 32)


def test_int8_without_images(bright_ct: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images to calibrate int8 on"):
        quantise(bright_ct, tmp_path / "q.onnx", [], describe(CT))


class Loud(nn.Module):
    """A layer whose sum leaves the range of a half, and a second that brings it back: 0.6 in fp32, infinite in fp16."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False))
        nn.init.constant_(self.body[0].weight, 3e4)
        nn.init.constant_(self.body[1].weight, 5e-6)

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        found: Tensor = self.body(image.float().permute(0, 3, 1, 2) / 100)
        return found.clamp(0, 1)


def test_half_precision_overflows_where_it_must(images: np.ndarray) -> None:
    fed = np.full_like(images, 400)
    whole, half = (TorchBackend(in_precision(Loud().eval(), kind), CT) for kind in ("fp32", "fp16"))
    assert np.isfinite(whole.probability(fed)).all()
    assert not (np.abs(half.probability(fed) - whole.probability(fed)) < 0.01).any()
