"""What a graph has in 8-bit integers is added up rightly by every runtime, whatever the processor.

Where there is no VNNI, ONNX Runtime and OpenVINO by themselves lose half of the sums of this network: they add two
products in 16 bits. Where there is, these tests hold without what sdseg does about it, but for what is said.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from sdseg.artifacts.image_contract import ImageContract
from sdseg.backends import cache, onnxruntime, openvino_support
from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.backends.openvino import OpenvinoBackend
from sdseg.core.processor import adds_up_bytes
from sdseg.export.quantise import quantise
from sdseg.export.tracing import export_graph
from tests.helpers.tiny import RGB, describe, picture

WIDTH = 16


class LargeSums(nn.Module):
    """Probability 0 to 1 of the mean of neighbourhoods, of bytes near the largest with weights that are the largest."""

    noise_shape = None

    def __init__(self, image: ImageContract) -> None:
        super().__init__()
        self.image = image
        self.first = nn.Conv2d(3, WIDTH, 1)
        self.layer = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)  # the one in 8 bits: the ends stay as they are
        self.last = nn.Conv2d(WIDTH, 1, 1)
        for convolution in (self.first, self.layer, self.last):
            nn.init.constant_(convolution.weight, 1.0 / convolution.weight[0].numel())
            nn.init.zeros_(convolution.bias)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.last(self.layer(self.first(image.float().permute(0, 3, 1, 2) / 255)))
        return found


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The network in single precision, and in 8 bits by the ranges of bright images."""
    folder = tmp_path_factory.mktemp("eight bits é")
    single, integers = folder / "model.onnx", folder / "model.int8.onnx"
    manifest = describe(RGB)
    export_graph(LargeSums(RGB), manifest, single)
    quantise(
        single,
        integers,
        [{"image": bright(seed)} for seed in range(2)],
        manifest.model_copy(update={"precision": "int8"}),
    )
    return single, integers


def bright(seed: int) -> np.ndarray:
    return (200 + picture(RGB, seed)[0].astype(np.int32) // 5).clip(0, 255).astype(np.uint8)[None]


def test_onnx_runtime_adds_up(graphs: tuple[Path, Path]) -> None:
    single, integers = (OnnxBackend(graph).probability(bright(2)) for graph in graphs)
    assert np.median(single) > 0.8
    np.testing.assert_allclose(integers, single, atol=0.02)


@pytest.mark.parametrize(("vnni", "asked"), [(False, "1"), (True, None)])
def test_onnx_runtime_is_asked_where_it_has_to_be(
    vnni: bool, asked: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "adds_up_bytes", lambda: vnni)
    options = onnxruntime.session_options(1)
    if asked is None:
        with pytest.raises(RuntimeError, match="does not have configuration"):
            options.get_session_config_entry("session.x64quantprecision")
    else:
        assert options.get_session_config_entry("session.x64quantprecision") == asked


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed: nothing of it was run")
@pytest.mark.parametrize("vnni", [adds_up_bytes(), False], ids=["this processor", "one without VNNI"])
@pytest.mark.parametrize("kept", [False, True], ids=["compiled", "from the cache"])
def test_openvino_adds_up_and_says_at_what_cost(
    graphs: tuple[Path, Path],
    vnni: bool,
    kept: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openvino_support, "adds_up_bytes", lambda: vnni)
    if kept:
        monkeypatch.setenv("SDSEG_CACHE", str(tmp_path))
        monkeypatch.setattr(cache, "CACHED_FROM", 0)
        OpenvinoBackend(graphs[1])
        caplog.clear()
    single, integers = (OpenvinoBackend(graph).probability(bright(2)) for graph in graphs)
    np.testing.assert_allclose(integers, single, atol=0.02)
    told = [record.getMessage().split(",")[0] for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == ([] if vnni else ["model.int8.onnx: computed in single precision"])


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed: nothing of it was run")
def test_what_openvino_kept_for_other_sums_is_not_used(
    graphs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDSEG_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "CACHED_FROM", 0)
    for vnni in (True, False, True, False):
        monkeypatch.setattr(openvino_support, "adds_up_bytes", lambda vnni=vnni: vnni)
        OpenvinoBackend(graphs[1])
    assert len([path for path in (tmp_path / "openvino").iterdir() if path.is_dir()]) == 2
