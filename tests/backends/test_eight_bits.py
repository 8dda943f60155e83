"""What a graph has in 8-bit integers is added up rightly by every runtime, whatever the processor.

Where there is no VNNI, ONNX Runtime and OpenVINO add two products in 16 bits. Graphs of earlier versions lose half of
their sums by it, but for what sdseg does about it; those of this version fit. Where there is VNNI, what is said alone
can be seen to hold.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from sdseg.artifacts.image_contract import ImageContract
from sdseg.backends import cache, exact_sums
from sdseg.backends.graph_checksum import open_manifest, seal_graph, unsealed
from sdseg.backends.graph_file import METADATA_KEY
from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.backends.openvino import OpenvinoBackend
from sdseg.core.processor import adds_up_bytes
from sdseg.export import quantise as quantising
from sdseg.export.quantise import quantise
from sdseg.export.tracing import export_graph
from tests.helpers.tiny import RGB, describe, picture

WIDTH = 16
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed: nothing was run")


class LargeSums(nn.Module):
    """Probability 0 to 1 of means of neighbourhoods, of bytes near the largest with weights that are the largest.

    Of the layers in 8 bits (the ends stay as they are) two have an even number of input channels, of which those that
    are neighbours without being a pair have the large weights; then comes one of an odd number, and a product.
    """

    noise_shape = None

    def __init__(self, image: ImageContract) -> None:
        super().__init__()
        self.image = image
        self.first = nn.Conv2d(3, WIDTH, 1)
        self.even = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.point = nn.Conv2d(WIDTH, WIDTH - 1, 1)
        self.odd = nn.Conv2d(WIDTH - 1, WIDTH, 3, padding=1)
        self.product = nn.Linear(WIDTH, WIDTH)
        self.last = nn.Conv2d(WIDTH, 1, 1)
        for layer in (self.first, self.even, self.point, self.odd, self.product, self.last):
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            nn.init.ones_(layer.weight)
            if layer.weight.shape[1] == WIDTH and layer is not self.last:
                with torch.no_grad():
                    layer.weight[:, [*range(0, WIDTH, 4), *range(3, WIDTH, 4)]] = 0.01
            layer.weight.data /= layer.weight[0].sum()
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        values = self.odd(self.point(self.even(self.first(image.float().permute(0, 3, 1, 2) / 255))))
        probability: Tensor = self.last(self.product(values.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        return probability


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The network in single precision, in 8 bits by the ranges of bright images, and as earlier versions wrote that."""
    folder = tmp_path_factory.mktemp("eight bits é")
    single, integers, earlier = (folder / f"{name}.onnx" for name in ("model", "model.int8", "earlier.int8"))
    manifest = describe(RGB)
    export_graph(LargeSums(RGB), manifest, single)
    feeds = [{"image": bright(seed)} for seed in range(2)]
    described = manifest.model_copy(update={"precision": "int8"})
    quantise(single, integers, feeds, described)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantising, "weight_steps", whole_bytes)
        quantise(single, earlier, feeds, described)
    model = onnx.load(str(earlier))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: unsealed(described, external=False).model_dump_json()})
    onnx.save(model, str(earlier))
    seal_graph(earlier)
    return single, integers, earlier


def whole_bytes(weights: np.ndarray, inputs: int, outputs: int) -> Any:
    """A channel's largest weight is 127."""
    return (np.abs(weights).max(axis=tuple({*range(weights.ndim)} - {outputs})) / 127).astype(np.float32)


def bright(seed: int) -> np.ndarray:
    return (200 + picture(RGB, seed)[0].astype(np.int32) // 5).clip(0, 255).astype(np.uint8)[None]


@pytest.mark.parametrize("written", [1, 2], ids=["now", "by an earlier version"])
def test_onnx_runtime_adds_up(graphs: tuple[Path, ...], written: int) -> None:
    single, integers = (OnnxBackend(graphs[place]).probability(bright(2)) for place in (0, written))
    assert np.median(single) > 0.8
    np.testing.assert_allclose(integers, single, atol=0.02)


def test_without_options_as_well(graphs: tuple[Path, ...]) -> None:
    """Whoever runs a graph elsewhere need not know: it is what the exact way gives, bit for bit."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    with_option, without = (
        onnxruntime.InferenceSession(str(graphs[1]), each).run(None, {"image": bright(2)})[0]
        for each in (options, onnxruntime.SessionOptions())
    )
    np.testing.assert_array_equal(without, with_option)


@pytest.mark.parametrize(("vnni", "asked"), [(False, [False, False, True]), (True, [False, False, False])])
def test_exact_sums_are_asked_for_where_they_have_to_be(
    graphs: tuple[Path, ...], vnni: bool, asked: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_sums, "adds_up_bytes", lambda: vnni)
    assert [exact_sums.needs_exact_sums(open_manifest(graph)) for graph in graphs] == asked
    for graph, exact in zip(graphs, asked, strict=True):
        options = OnnxBackend(graph)._session.get_session_options()
        if exact:
            assert options.get_session_config_entry("session.x64quantprecision") == "1"
        else:
            with pytest.raises(RuntimeError, match="does not have configuration"):
                options.get_session_config_entry("session.x64quantprecision")


@needs_openvino
@pytest.mark.parametrize("written", [1, 2], ids=["now", "by an earlier version"])
@pytest.mark.parametrize("vnni", [adds_up_bytes(), False], ids=["this processor", "one without VNNI"])
@pytest.mark.parametrize("kept", [False, True], ids=["compiled", "from the cache"])
def test_openvino_adds_up_and_says_at_what_cost(
    graphs: tuple[Path, ...],
    written: int,
    vnni: bool,
    kept: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exact_sums, "adds_up_bytes", lambda: vnni)
    if kept:
        monkeypatch.setenv("SDSEG_CACHE", str(tmp_path))
        monkeypatch.setattr(cache, "CACHED_FROM", 0)
        OpenvinoBackend(graphs[written])
        caplog.clear()
    single, integers = (OpenvinoBackend(graphs[place]).probability(bright(2)) for place in (0, written))
    np.testing.assert_allclose(integers, single, atol=0.02)
    told = [record.getMessage().split(",")[0] for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == ([] if vnni or written == 1 else ["earlier.int8.onnx: computed in single precision"])


@needs_openvino
def test_what_openvino_kept_for_other_sums_is_not_used(
    graphs: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDSEG_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "CACHED_FROM", 0)
    for vnni in (True, False, True, False):
        monkeypatch.setattr(exact_sums, "adds_up_bytes", lambda vnni=vnni: vnni)
        OpenvinoBackend(graphs[2])
    assert len([path for path in (tmp_path / "openvino").iterdir() if path.is_dir()]) == 2
