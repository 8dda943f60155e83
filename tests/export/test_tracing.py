"""The exported graph: ports, metadata, values at several batch sizes, and what cannot be exported."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.fx import config as fx_config

from sdseg.artifacts.manifests import GraphManifest
from sdseg.backends.graph_checksum import open_manifest
from sdseg.core.errors import UserError
from sdseg.export import tracing
from sdseg.export.tracing import METADATA_KEY, export_graph, graph_inputs
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.segmenter import Segmenter
from tests.helpers.networks import CLASSIC, CODEC, ONE_LEVEL, recipe
from tests.helpers.tiny import CT, RGB, Brightness, describe


def latent_segmenter() -> Segmenter:
    """The latent method at its smallest, with attention and Gaussian start."""
    torch.manual_seed(0)
    network = {"condition": CLASSIC, "denoiser": ONE_LEVEL}
    chosen = recipe(network=network, diffusion={"inference_noise": "gaussian"})
    return build_segmenter(chosen, CT, 1, CODEC, 1.0).eval()


def run(path: Path, **feed: np.ndarray) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(str(path)).run(["probability"], feed)[0])


def test_ports_and_metadata(bright_rgb: Path) -> None:
    model = onnx.load(str(bright_rgb))
    ports = [
        (
            port.name,
            port.type.tensor_type.elem_type,
            [d.dim_param or d.dim_value for d in port.type.tensor_type.shape.dim],
        )
        for port in (*model.graph.input, *model.graph.output)
    ]
    assert ports == [
        ("image", onnx.TensorProto.UINT8, ["batch", 32, 32, 3]),
        ("probability", onnx.TensorProto.FLOAT, ["batch", 1, 32, 32]),
    ]
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 21)]
    written = {value.key: value.value for value in model.metadata_props}
    assert list(written) == [METADATA_KEY]
    told = GraphManifest.model_validate_json(written[METADATA_KEY])
    assert told.content_sha256 is not None
    assert told.model_copy(update={"content_sha256": None}) == describe()


def test_carries_no_trace_of_the_machine(bright_rgb: Path) -> None:
    model = onnx.load(str(bright_rgb))
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert b"site-packages" not in bright_rgb.read_bytes()


def test_nodes_note_no_stack_traces_and_those_of_others_do(tmp_path: Path) -> None:
    class Noting(Brightness):
        def forward(self, image: Tensor) -> Tensor:
            noted.append(not fx_config.do_not_emit_stack_traces)
            return super().forward(image)

    noted: list[bool] = []
    export_graph(Noting(RGB).eval(), describe(), tmp_path / "model.onnx")
    assert noted
    assert not any(noted)
    assert not fx_config.do_not_emit_stack_traces


def test_a_pytorch_that_always_notes_them_exports_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(fx_config, "do_not_emit_stack_traces")  # PyTorch 2.11
    with tracing._without_stack_traces():
        assert not hasattr(fx_config, "do_not_emit_stack_traces")


def test_ct_takes_float_and_noise() -> None:
    image, noise = graph_inputs(CT, (4, 8, 8))
    assert (image.dtype, image.axes, image.range) == ("float32", ("batch", 32, 32, 1), (-175.0, 250.0))
    assert (noise.dtype, noise.axes, noise.range) == ("float32", ("batch", 4, 8, 8), None)


@pytest.fixture(scope="module")
def latent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Segmenter, Path]:
    segmenter = latent_segmenter()
    path = tmp_path_factory.mktemp("latent") / "model.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "INLINE_BYTES", 10_000)  # as if its weights were above 2 GB
        export_graph(segmenter, describe(CT, noise_shape=segmenter.noise_shape), path)
    return segmenter, path


# diffusers branches at 64 samples; the graph must not care.
@pytest.mark.parametrize("batch", [1, 2, 3, 5, 65])
def test_latent_segmenter_computes_the_same(latent: tuple[Segmenter, Path], batch: int) -> None:
    segmenter, path = latent
    generator = np.random.default_rng(batch)
    image = generator.uniform(-1000, 1000, (batch, 32, 32, 1)).astype(np.float32)
    noise = generator.standard_normal((batch, *(segmenter.noise_shape or ())), dtype=np.float32)
    with torch.inference_mode():
        expected = segmenter(torch.from_numpy(image), torch.from_numpy(noise)).numpy()
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(run(path, image=image, noise=noise), expected, atol=2e-5)


def test_large_weights_lie_beside_the_graph(latent: tuple[Segmenter, Path]) -> None:
    _, path = latent
    weights = path.with_name("model.onnx.data")
    assert weights.stat().st_size > 10_000
    assert sorted(file.name for file in path.parent.iterdir()) == ["model.onnx", "model.onnx.data"]


def test_weights_beside_the_graph_have_a_checksum_in_it(latent: tuple[Segmenter, Path], tmp_path: Path) -> None:
    path, weights = tmp_path / "model.onnx", tmp_path / "model.onnx.data"
    shutil.copyfile(latent[1], path)
    data = bytearray(latent[1].with_name(weights.name).read_bytes())
    weights.write_bytes(data)
    assert open_manifest(path).weights_sha256 == hashlib.sha256(data).hexdigest()
    data[len(data) // 2] ^= 0x10
    weights.write_bytes(data)
    with pytest.raises(UserError, match=r"(?s)the file of the graph's weights has changed.*model\.onnx\.data"):
        open_manifest(path)
    weights.unlink()
    with pytest.raises(UserError, match=r"its weights, 'model\.onnx\.data', are missing"):
        open_manifest(path)


@pytest.mark.parametrize("opset", [18, 23])
def test_other_operator_sets(tmp_path: Path, opset: int) -> None:
    path = tmp_path / "model.onnx"
    export_graph(Brightness(RGB), describe(opset=opset), path)
    assert onnx.load(str(path)).opset_import[0].version == opset
    image = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = Brightness(RGB)(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(run(path, image=image), expected, atol=1e-5)


def test_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    level = logging.getLogger("torch.onnx").level
    export_graph(Brightness(RGB), describe(), tmp_path / "model.onnx")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []
    assert logging.getLogger("torch.onnx").level == level


class Branching(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        values = image.float().mean(dim=3, keepdim=True).permute(0, 3, 1, 2)
        return values / 255 if values.max() > 100 else values * 0


def test_what_cannot_be_traced_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written as an ONNX graph of operator set 21"):
        export_graph(Branching().eval(), describe(), tmp_path / "model.onnx")
    assert not fx_config.do_not_emit_stack_traces  # set again after an error too


def test_training_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="training mode"):
        export_graph(Brightness(RGB).train(), describe(), tmp_path / "model.onnx")


def test_ports_that_contradict_the_manifest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"came out with the ports .*2, 32, 32"):
        export_graph(Brightness(RGB, structures=2), describe(), tmp_path / "model.onnx")
