"""What does not depend on the image is a constant of the graph, and the graph computes what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from sdseg.artifacts.image_contract import ImageContract
from sdseg.export.tracing import export_graph
from sdseg.models.segmenter import Segmenter
from tests.helpers.exported_graphs import NETWORKS
from tests.helpers.tiny import CT, RGB, describe

COMPUTING = {"Gemm", "MatMul", "Sin", "Cos", "Gather", "Conv"}


def free_of_the_image(model: onnx.ModelProto) -> list[str]:
    """Nodes that compute, and to which no pixel leads: a shape tells of the image, but holds no pixel."""
    reached = {port.name for port in model.graph.input}
    for node in model.graph.node:  # in topological order, as ONNX demands
        if node.op_type != "Shape" and reached & set(node.input):
            reached |= set(node.output)
    return [node.op_type for node in model.graph.node if node.op_type in COMPUTING and not reached & set(node.output)]


@pytest.mark.parametrize("name", ["condition at every size", "latent, two structures of CT"])
def test_nothing_is_computed_from_the_timestep(graph_of: Callable[[str], Path], name: str) -> None:
    check_folded(NETWORKS[name].build(), NETWORKS[name].image, graph_of(name))


def test_nothing_is_computed_from_fixed_noise_either(latent_segmenter: Segmenter, exported: dict[str, Path]) -> None:
    check_folded(latent_segmenter, CT, exported["fp32"])


def check_folded(segmenter: Segmenter, image: ImageContract, path: Path) -> None:
    model = onnx.load(str(path))
    assert free_of_the_image(model) == []
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators["Gemm"] == operators["Sin"] == operators["Gather"] == 0
    assert not [weight.name for weight in model.graph.initializer if "time_emb" in weight.name]

    session = onnxruntime.InferenceSession(str(path))
    generator = np.random.default_rng(0)
    for batch in (1, 2, 3, 5, 11):
        fed = generator.integers(0, 255, (batch, 32, 32, image.channels)).astype(
            np.uint8 if image is RGB else np.float32
        )
        with torch.inference_mode():
            expected = segmenter(torch.from_numpy(fed)).numpy()
        assert np.ptp(expected) > 0.01
        np.testing.assert_allclose(session.run(None, {"image": fed})[0], expected, atol=2e-5)


class Spread(torch.nn.Module):
    """Uses a timestep in places where one row will do, and in one where the whole batch is needed."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pixels = image.float().permute(0, 3, 1, 2) / 255  # [N,3,H,W]
        time = torch.full((len(image),), 7.0) * torch.ones(len(image))
        scale = self.linear(time[:, None] * torch.tensor([0.1, 0.2, 0.3]))[:, :, None, None]  # [N,3,1,1]
        spread = scale.expand(-1, -1, 32, 32)  # joins the pixels: here every row must be there
        return (torch.cat([pixels * scale, spread], dim=1).mean(dim=1, keepdim=True) + 1).clamp(0, 2) / 2


def test_rows_stay_where_broadcasting_cannot_bring_them_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, path = Spread().eval(), tmp_path / "model.onnx"
    export_graph(module, describe(), path)
    session = onnxruntime.InferenceSession(str(path))
    for batch in (1, 2, 7):
        fed = np.random.default_rng(batch).integers(0, 255, (batch, 32, 32, 3), dtype=np.uint8)
        with torch.inference_mode():
            expected = module(torch.from_numpy(fed)).numpy()
        np.testing.assert_allclose(session.run(None, {"image": fed})[0], expected, atol=1e-5)
