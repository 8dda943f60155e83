"""That the tests export in less time changes no byte of a graph."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnxscript.rewriter._matcher import SimplePatternMatcher
from torch.onnx._internal.exporter._registration import ONNXRegistry

from sdseg.export.tracing import export_graph
from tests.helpers.quick_exports import quicken_exports
from tests.helpers.tiny import describe


class Rewritten(torch.nn.Module):
    """What onnxscript's rules make less of, by several operators; slices, which a rule looks at; twice the batch."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pixels = image.float().mean(dim=3).unsqueeze(1) / 255 * 1 + 0  # [N,1,H,W]
        left, right = pixels[..., :16], pixels[..., 16:]
        joined = torch.cat([left.relu().relu(), right.clamp(min=0).clamp(max=1)], dim=3)
        pairs = torch.cat([joined, joined]).unflatten(0, (2, len(image))).transpose(0, 1).mean(dim=1)
        return pairs.reshape(-1, 1024).reshape(-1, 1, 32, 32).clamp(0, 1)


def test_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.onnx, "export", torch.onnx.export)
    quicken_exports()
    export_graph(Rewritten().eval(), describe(), tmp_path / "quick.onnx")
    for quickened, name in ((SimplePatternMatcher, "match"), (ONNXRegistry, "from_torchlib")):
        monkeypatch.setattr(quickened, name, getattr(quickened, name).__wrapped__)
    export_graph(Rewritten().eval(), describe(), tmp_path / "slow.onnx")
    assert (tmp_path / "quick.onnx").read_bytes() == (tmp_path / "slow.onnx").read_bytes()
    operators = [node.op_type for node in onnx.load(str(tmp_path / "quick.onnx")).graph.node]
    assert (operators.count("Relu"), operators.count("Reshape")) == (1, 2)
    assert not {"Mul", "Add"} & set(operators)
