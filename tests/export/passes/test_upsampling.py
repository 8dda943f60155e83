"""An enlarged map's convolution as four smaller ones: the same numbers, fewer products, and where it stays as it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from sdseg.export.passes.upsampling import merge_upsampling

WEIGHTS = np.random.default_rng(0).standard_normal((5, 3, 3, 3)).astype(np.float32)
BIAS = np.arange(5, dtype=np.float32)


def enlarged(
    scales: tuple[float, ...] = (1, 1, 2, 2), read_twice: bool = False, dtype: type = np.float32, **changed: object
) -> ir.Model:
    """x [n,3,6,4] -> y: every pixel doubled, then a convolution, of which `changed` are attributes."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    attributes: dict[str, object] = {"pads": [1, 1, 1, 1]} | changed
    resize = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["large"], **resize),
        helper.make_node("Conv", ["large", "weights", "bias"], ["y"], **attributes),
    ]
    ends = [helper.make_tensor_value_info("y", kind, ["n", 5, None, None])]
    if read_twice:
        nodes.append(helper.make_node("Relu", ["large"], ["z"]))
        ends.append(helper.make_tensor_value_info("z", kind, ["n", 3, None, None]))
    held = {"scales": np.array(scales, np.float32), "weights": WEIGHTS.astype(dtype), "bias": BIAS.astype(dtype)}
    graph = helper.make_graph(
        nodes,
        "enlarged",
        [helper.make_tensor_value_info("x", kind, ["n", 3, 6, 4])],
        ends,
        [numpy_helper.from_array(values, name) for name, values in held.items()],
    )
    return ir.serde.deserialize_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    )


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def test_it_computes_what_pytorch_does(tmp_path: Path) -> None:
    model = enlarged()
    assert merge_upsampling(model) == 1
    assert operators(model) == {"Conv": 4, "Concat": 1, "DepthToSpace": 1}
    assert {tuple(value.shape or ())[2:] for name, value in model.graph.initializers.items() if "weights" in name} == {
        (2, 2)
    }
    path = tmp_path / "model.onnx"
    ir.save(model, path)
    onnx.checker.check_model(str(path), full_check=True)
    image = torch.randn(3, 3, 6, 4, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(image, scale_factor=2, mode="nearest")
    expected = torch.nn.functional.conv2d(large, torch.tensor(WEIGHTS), torch.tensor(BIAS), padding=1)
    (found,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": image.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=2e-5, rtol=1e-4)


def test_half_precision_stays_half() -> None:
    model = enlarged(dtype=np.float16)
    assert merge_upsampling(model) == 1
    kinds = {value.dtype for name, value in model.graph.initializers.items() if "weights" in name}
    assert kinds == {ir.DataType(TensorProto.FLOAT16)}


@pytest.mark.parametrize(
    "model",
    [
        enlarged(scales=(1, 1, 4, 4)),
        enlarged(read_twice=True),
        enlarged(strides=[2, 2]),
        enlarged(dilations=[2, 2]),
        enlarged(pads=[0, 0, 0, 0]),
    ],
    ids=["by four", "read twice", "stride", "gaps", "no padding"],
)
def test_it_stays_where_it_is_not_that(model: ir.Model) -> None:
    before = operators(model)
    assert merge_upsampling(model) == 0
    assert operators(model) == before
