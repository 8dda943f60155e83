"""Graphs of lower precision: what they compute, what stays in fp32, and what overflows."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.backends.providers import cannot_run
from sdseg.backends.torch import TorchBackend
from sdseg.core.errors import UserError
from sdseg.export.precision import in_precision
from sdseg.export.quantise import quantise, quantise_weights
from sdseg.export.tracing import export_graph
from sdseg.models.segmenter import Segmenter
from tests.helpers.exported_graphs import NETWORKS
from tests.helpers.tiny import CT, describe


def types(path: Path) -> dict[int, int]:
    found: dict[int, int] = {}
    for weight in onnx.load(str(path)).graph.initializer:
        found[weight.data_type] = found.get(weight.data_type, 0) + int(np.prod(weight.dims))
    return found


def test_fp16_graph(latent_segmenter: Segmenter, ct_slices: np.ndarray, exported: dict[str, Path]) -> None:
    held = types(exported["fp16"])
    assert held[onnx.TensorProto.FLOAT16] > 0.9 * sum(held.values())
    backend = OnnxBackend(exported["fp16"])  # takes and gives float32, as the check of its ports demands
    assert backend.manifest.precision == "fp16"
    expected = TorchBackend(latent_segmenter, CT).probability(ct_slices)
    assert np.ptp(expected) > 0.01
    found = backend.probability(ct_slices)
    assert 0 < np.abs(found - expected).max() < 0.02
    lowered = TorchBackend(in_precision(latent_segmenter, "fp16"), CT)
    np.testing.assert_allclose(found, lowered.probability(ct_slices), atol=0.02)
    assert {value.dtype for value in latent_segmenter.state_dict().values()} == {torch.float32}  # it is as it was


def test_window_and_estimate_stay_in_single_precision(latent_segmenter: Segmenter) -> None:
    lowered = in_precision(latent_segmenter, "fp16")
    assert lowered.alphas_cumprod.dtype == torch.float32
    value = torch.full((1, 32, 32, 1), 2049.0)  # no half: the window of raw values must see it as it is
    assert torch.equal(lowered.normaliser(value), latent_segmenter.normaliser(value))


def test_bf16_graph_is_refused_by_the_cpu(exported: dict[str, Path], tmp_path: Path) -> None:
    """The day this test fails, ONNX Runtime has learnt it, and `cannot_run` has to follow."""
    with pytest.raises(UserError, match="cannot be written as an ONNX graph of operator set 21"):
        export_graph(in_precision(NETWORKS["unet"].build(), "bf16"), describe(), tmp_path / "model.bf16.onnx")
    assert types(exported["bf16"])[onnx.TensorProto.BFLOAT16] > 1000
    with pytest.raises(UserError, match="not an ONNX graph that can be run"):
        OnnxBackend(exported["bf16"])
    assert "no bf16" in str(cannot_run("cpu", "bf16"))
    assert cannot_run("cuda", "bf16") is cannot_run("cpu", "fp16") is cannot_run("openvino", "bf16") is None


def test_int8_graph(ct_slices: np.ndarray, exported: dict[str, Path]) -> None:
    source, target = exported["fp32"], exported["int8"]
    manifest = OnnxBackend(target).manifest
    sealed = {"content_sha256": manifest.content_sha256, "precision": "int8", "sums_fit_16_bits": True}
    assert manifest == describe(CT).model_copy(update=sealed)
    assert target.stat().st_size < source.stat().st_size
    assert types(target)[onnx.TensorProto.INT8] > 1000
    expected = onnxruntime.InferenceSession(str(source)).run(None, {"image": ct_slices})[0]
    found = OnnxBackend(target).probability(ct_slices)
    assert 0 < np.abs(found - expected).mean() < 0.05
    for batch in (1, 3):
        assert OnnxBackend(target).probability(ct_slices[:batch]).shape == (batch, 1, 32, 32)


def test_weights_alone_in_8_bits(ct_slices: np.ndarray, exported: dict[str, Path], tmp_path: Path) -> None:
    """Every weight within half a step of its channel's range, and the rest of the graph as it was."""
    source, target = exported["fp32"], tmp_path / "model.int8_weights.onnx"
    quantise_weights(source, target, describe(CT).model_copy(update={"precision": "int8_weights"}))
    assert target.stat().st_size < 0.7 * source.stat().st_size  # the structure is half of so small a graph
    whole, graph = ({each.name: each for each in onnx.load(str(file)).graph.initializer} for file in (source, target))
    stored = [name.removesuffix("_bytes") for name in graph if name.endswith("_bytes")]
    assert {name: graph[name].SerializeToString() for name in graph if name in whole} == {
        name: whole[name].SerializeToString() for name in whole if name not in stored
    }
    for node in onnx.load(str(target)).graph.node[: len(stored)]:
        name, axis = node.output[0], node.attribute[0].i
        weights = np.moveaxis(onnx.numpy_helper.to_array(whole[name]), axis, 0)
        held = np.moveaxis(onnx.numpy_helper.to_array(graph[f"{name}_bytes"]), axis, 0)
        steps = onnx.numpy_helper.to_array(graph[f"{name}_scale"])
        assert all(np.abs(channel.astype(int)).max() == 127 for channel in held)
        for channel, expected, step in zip(held, weights, steps, strict=True):
            assert np.abs(channel * step - expected).max() <= 0.501 * step
    expected = OnnxBackend(source).probability(ct_slices)
    found = OnnxBackend(target).probability(ct_slices)
    assert 0 < np.abs(found - expected).max() < 0.05
    (elsewhere,) = onnxruntime.InferenceSession(str(target)).run(None, {"image": ct_slices})  # without sdseg's options
    np.testing.assert_allclose(found, elsewhere, atol=2e-3)


def test_int8_without_images(bright_ct: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images to calibrate int8 on"):
        quantise(bright_ct, tmp_path / "q.onnx", [], describe(CT))


def test_int8_without_room_for_what_is_written_on_the_way(exported: dict[str, Path], tmp_path: Path) -> None:
    """ONNX's own writer ends a file that grows no more without a word, as on a full disk."""
    source = tmp_path / "model.onnx"
    source.write_bytes(exported["fp32"].read_bytes())
    feeds = [{"image": np.zeros((1, 32, 32), np.int16)}]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (source.stat().st_size - 1000, hard))
    try:
        with pytest.raises(UserError, match="cannot be read again") as caught:
            quantise(source, tmp_path / "model.int8.onnx", feeds, describe(CT))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "see whether that disk is full" in str(caught.value)
    assert not (tmp_path / "model.int8.onnx").exists()


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


def test_half_precision_overflows_where_it_must(ct_slices: np.ndarray) -> None:
    fed = np.full_like(ct_slices, 400)
    whole, half = (TorchBackend(in_precision(Loud().eval(), kind), CT) for kind in ("fp32", "fp16"))
    assert np.isfinite(whole.probability(fed)).all()
    assert not (np.abs(half.probability(fed) - whole.probability(fed)) < 0.01).any()
