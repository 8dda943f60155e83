"""Group normalisation written as instance normalisation: the same numbers, and where it stays as it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import nn

from sdseg.export.passes.group_norm import spread_group_norms


def traced(module: nn.Module, example: torch.Tensor, axes: dict[int, str]) -> ir.Model:
    program = torch.onnx.export(
        module.eval(), (example,), dynamo=True, verbose=False, dynamic_shapes=(axes,), opset_version=21
    )
    assert program is not None
    return program.model


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


@pytest.mark.parametrize(
    ("shape", "groups"),
    [((2, 8, 6, 5), 1), ((2, 8, 6, 5), 4), ((2, 8, 7), 8), ((2, 8, 3, 4, 5), 2)],
    ids=str,
)
def test_it_computes_what_pytorch_does(shape: tuple[int, ...], groups: int, tmp_path: Path) -> None:
    torch.manual_seed(groups)
    module = nn.Sequential(nn.GroupNorm(groups, 8, eps=1e-3), nn.SiLU(), nn.GroupNorm(groups, 8))
    for weight in module.parameters():
        nn.init.normal_(weight)
    model = traced(module, torch.zeros(shape), {0: "batch"})
    assert spread_group_norms(model) == 2
    found = operators(model)
    assert (found["GroupNormalization"], found["InstanceNormalization"], found["Shape"]) == (0, 2, 0)
    path = tmp_path / "model.onnx"
    ir.save(model, path)
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path))
    for batch in (1, 3):
        image = 5 + 3 * torch.randn(batch, *shape[1:])
        (computed,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(computed), module(image), atol=2e-5, rtol=1e-4)


def test_it_stays_where_sizes_are_open_or_numbers_short() -> None:
    open_sizes = traced(nn.GroupNorm(2, 8), torch.zeros(2, 8, 6, 6), {0: "batch", 2: "rows"})
    short = traced(nn.GroupNorm(2, 8).half(), torch.zeros(2, 8, 6, 6, dtype=torch.float16), {0: "batch"})
    for model in (open_sizes, short):
        assert spread_group_norms(model) == 0
        assert operators(model)["GroupNormalization"] == 1


def test_a_graph_in_half_precision_keeps_its_statistics_in_single(exported: dict[str, Path]) -> None:
    """Of `GroupNormalization` alone ONNX says so: its attribute stash_type is 1 unless given."""
    for precision, kept in (("fp32", False), ("fp16", True)):
        found = operators(ir.load(exported[precision]))
        assert (found["GroupNormalization"] > 0, found["InstanceNormalization"] > 0) == (kept, not kept)
