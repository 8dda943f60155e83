"""That the tests export in less time changes nothing of a graph but numbers within names of values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnxscript.rewriter._matcher import SimplePatternMatcher
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional as F
from torch.onnx._internal.exporter import _fx_passes
from torch.onnx._internal.exporter._registration import ONNXRegistry
from torch.onnx._internal.fx.passes.type_promotion import _TypePromotionInterpreter as TypePromotion

from sdseg.export.tracing import export_graph, graph_inputs, graph_outputs
from sdseg.export.with_hypotheses import WithHypotheses
from sdseg.models.build_segmenter import build_segmenter
from tests.helpers.models import GAUSSIAN
from tests.helpers.networks import CODEC, quick_recipe
from tests.helpers.quick_decomposition import CALLS
from tests.helpers.quick_exports import quicken_exports
from tests.helpers.tiny import RGB, describe


class Rewritten(nn.Module):
    """What onnxscript's rules make less of, by several operators; slices, which a rule looks at; twice the batch."""

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.float().mean(dim=3).unsqueeze(1) / 255 * 1 + 0  # [N,1,H,W]
        left, right = pixels[..., :16], pixels[..., 16:]
        joined = torch.cat([left.relu().relu(), right.clamp(min=0).clamp(max=1)], dim=3)
        pairs = torch.cat([joined, joined]).unflatten(0, (2, len(image))).transpose(0, 1).mean(dim=1)
        return pairs.reshape(-1, 1024).reshape(-1, 1, 32, 32).clamp(0, 1)


class TakenApart(nn.Module):
    """Every operator that quick_decomposition.py takes apart, beside those of networks that stay whole.

    Types are promoted in it. `unknown`: with something that is left to PyTorch.
    """

    def __init__(self, unknown: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.unknown = unknown
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(2, 8), nn.InstanceNorm2d(8, affine=True)])
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.up_again = nn.ConvTranspose2d(4, 4, 3, padding=1, groups=2, bias=False)
        self.up_in_space = nn.ConvTranspose3d(4, 4, (1, 2, 2), stride=(1, 2, 2))
        self.out = nn.Linear(4, 1)

    def forward(self, image: Tensor) -> Tensor:
        made = self.down(image.to(torch.float32).permute(0, 3, 1, 2))
        for norm in self.norms:
            made = F.leaky_relu(norm(F.dropout(made, training=False)), inplace=True)
        tokens = made.to(torch.float32).flatten(2).flatten(2).transpose(1, 2).contiguous()
        tokens = F.silu(torch.cat([tokens, 1 - tokens, tokens.square()], dim=2), inplace=True)
        query, key, value = tokens.unsqueeze(1).chunk(3, dim=3)  # one head
        seen = F.scaled_dot_product_attention(query, key, value).transpose(2, 3).reshape(made.shape)
        first, second = self.up(made + seen).chunk(2, dim=1)
        several = (first * second).unsqueeze(1).expand(-1, 3, -1, -1, -1).reshape(-1, 4, 32, 32)  # thrice the batch
        grown = self.up_again(F.interpolate(F.avg_pool2d(several, 2), scale_factor=2.0))
        grown = grown.unflatten(0, (-1, 3)).flatten(0, 1).unflatten(0, (-1, 3)).mean(1) + torch.arange(32)
        grown = self.up_in_space(grown.unsqueeze(2)).squeeze(2)[:, :, ::2, ::2]
        if self.unknown == "an operator":
            grown = torch.special.log1p(grown.relu())
        if self.unknown == "a view that is changed":
            grown[:, 0].mul_(0.5)
        return self.out(grown.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).sigmoid() * 1


def unnumbered(path: Path) -> dict[str, Any]:
    """A graph whose values are named by where they come first."""
    graph = onnx.load(str(path)).graph
    names: dict[str, str] = {"": ""}

    def named(name: str) -> str:
        return names.setdefault(name, f"value {len(names)}")

    for port in graph.input:
        named(port.name)
    nodes = [
        (
            *(node.domain, node.op_type, [named(name) for name in (*node.input, *node.output)]),
            [attribute.SerializeToString(deterministic=True) for attribute in node.attribute],
        )
        for node in graph.node
    ]
    weights = {named(each.name): (each.data_type, list(each.dims), each.raw_data) for each in graph.initializer}
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {named(each.name): each.type.SerializeToString(deterministic=True) for each in values}
    return {"nodes": nodes, "weights": weights, "types": types, "outputs": [named(each.name) for each in graph.output]}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Exports in less time, until it is undone."""
    monkeypatch.setattr(torch.onnx, "export", torch.onnx.export)
    quicken_exports()
    return monkeypatch


def as_shipped(quick: pytest.MonkeyPatch, *quickened: tuple[Any, str]) -> None:
    for place, name in quickened:
        quick.setattr(place, name, getattr(place, name).__wrapped__)


DECOMPOSITION = ((_fx_passes, "decompose_with_registry"), (TypePromotion, "run_node"))


def test_the_same_bytes_without_a_search(tmp_path: Path, quick: pytest.MonkeyPatch) -> None:
    export_graph(Rewritten().eval(), describe(), tmp_path / "quick.onnx")
    as_shipped(quick, (SimplePatternMatcher, "match"), (ONNXRegistry, "from_torchlib"))
    export_graph(Rewritten().eval(), describe(), tmp_path / "slow.onnx")
    assert (tmp_path / "quick.onnx").read_bytes() == (tmp_path / "slow.onnx").read_bytes()
    operators = [node.op_type for node in onnx.load(str(tmp_path / "quick.onnx")).graph.node]
    assert (operators.count("Relu"), operators.count("Reshape")) == (1, 2)
    assert not {"Mul", "Add"} & set(operators)


@pytest.mark.parametrize("unknown", ["", "an operator", "a view that is changed"])
def test_the_same_graph_without_tracing_again(tmp_path: Path, quick: pytest.MonkeyPatch, unknown: str) -> None:
    traced: list[ExportedProgram] = []
    trace = ExportedProgram.run_decompositions

    def run_decompositions(program: ExportedProgram, *arguments: Any) -> ExportedProgram:
        traced.append(program)
        return trace(program, *arguments)

    quick.setattr(ExportedProgram, "run_decompositions", run_decompositions)
    module = TakenApart(unknown).eval()
    export_graph(module, describe(), tmp_path / "quick.onnx")
    assert len(traced) == bool(unknown)
    if unknown:
        return
    as_shipped(quick, *DECOMPOSITION)
    export_graph(module, describe(), tmp_path / "slow.onnx")
    assert unnumbered(tmp_path / "quick.onnx") == unnumbered(tmp_path / "slow.onnx")
    taken_apart = {str(node.target) for node in traced[-1].graph.nodes}
    assert {str(target) for target in CALLS} <= taken_apart


def test_a_network_with_noise_and_hypotheses_has_the_same_graph(tmp_path: Path, quick: pytest.MonkeyPatch) -> None:
    segmenter = build_segmenter(quick_recipe(**GAUSSIAN, inference={"samples": 2}), RGB, 1, CODEC, 0.7).eval()
    ports = {"inputs": graph_inputs(RGB, segmenter.noise_shape), "outputs": graph_outputs(RGB, 1, hypotheses=2)}
    manifest = describe().model_copy(update=ports)
    export_graph(WithHypotheses(segmenter), manifest, tmp_path / "quick.onnx")
    as_shipped(quick, *DECOMPOSITION)
    export_graph(WithHypotheses(segmenter), manifest, tmp_path / "slow.onnx")
    ours, theirs = unnumbered(tmp_path / "quick.onnx"), unnumbered(tmp_path / "slow.onnx")
    assert len(ours["nodes"]) > 100
    assert len(ours["outputs"]) == 4
    assert ours == theirs
