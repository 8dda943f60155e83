"""Every operator and type of our exported graphs is among those that TensorRT's ONNX parser documents.

Source of tensorrt_operators.csv: the support matrix of onnx-tensorrt, docs/operators.md for TensorRT 10.15 (opset 9 to
24), and its note that UINT8 is for inputs and outputs of a network alone. TensorRT 11's own guide ("ONNX Opset Guide",
docs.nvidia.com) names opset 9 to 25 and refers to the same matrix.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import onnx
import pytest
from onnx import TensorProto
from onnx.shape_inference import infer_shapes

from sdseg.config.export import EnginePrecision
from tests.helpers.exported_graphs import EXPORTED

NAMES = {
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.INT8: "INT8",
    TensorProto.UINT8: "UINT8",
    TensorProto.BOOL: "BOOL",
}


def documented() -> dict[str, set[str]]:
    with (Path(__file__).parent / "tensorrt_operators.csv").open(encoding="utf-8", newline="") as stream:
        return {row["operator"]: set(row["types"].split()) for row in csv.DictReader(stream)}


def used(graph: onnx.GraphProto) -> dict[str, set[str]]:
    """The types of the inputs and outputs of every operator."""
    values = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output, *graph.value_info)}
    values |= {weights.name: weights.data_type for weights in graph.initializer}
    found: dict[str, set[str]] = defaultdict(set)
    for node in graph.node:
        assert node.domain == "", f"{node.op_type} is no standard operator: {node.domain}"
        for name in filter(None, (*node.input, *node.output)):
            found[node.op_type].add(NAMES[values[name]])
    return found


@pytest.fixture(scope="module", params=EXPORTED)
def graph(request: pytest.FixtureRequest, graph_of: Callable[[str], Path]) -> onnx.GraphProto:
    return infer_shapes(onnx.load(graph_of(request.param)), data_prop=True).graph


def beyond(graph: onnx.GraphProto) -> set[str]:
    """Operators with a type that the parser does not document for them."""
    table = documented()
    return {
        f"{operator} of {kind}"
        for operator, kinds in used(graph).items()
        for kind in kinds
        if kind not in table.get(operator, set())
    }


def test_every_operator_and_type_is_documented(graph: onnx.GraphProto) -> None:
    assert beyond(graph) == set(), "not among what TensorRT's ONNX parser documents"


@pytest.mark.parametrize("precision", get_args(EnginePrecision))
def test_so_are_those_of_every_precision_of_engines(exported: dict[str, Path], precision: str) -> None:
    graph = infer_shapes(onnx.load(exported[precision]), data_prop=True).graph
    assert beyond(graph) == set(), "not among what TensorRT's ONNX parser documents"


def test_graphs_quantised_for_cpus_are_not_for_engines(exported: dict[str, Path]) -> None:
    """Why an engine is not built from them: unsigned activations with zero points."""
    graph = infer_shapes(onnx.load(exported["int8"]), data_prop=True).graph
    assert "QuantizeLinear of UINT8" in beyond(graph)


def test_uint8_is_only_an_input_that_is_cast_at_once(graph: onnx.GraphProto) -> None:
    """TensorRT takes UINT8 as input of a network and computes nothing in it."""
    small = {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.UINT8}
    assert {node.op_type for node in graph.node if small & set(node.input)} <= {"Cast"}
    casts = {name for node in graph.node for name in node.output if node.op_type == "Cast"}
    inner = {value.name for value in graph.value_info if value.type.tensor_type.elem_type == TensorProto.UINT8}
    assert not inner - casts
    assert not inner


def test_the_table_would_notice() -> None:
    """An operator that the parser does not know is found."""
    from onnx import helper

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Det", ["x"], ["y"])], "g", ports[:1], ports[1:])
    assert used(graph) == {"Det": {"FP32"}}
    assert "Det" not in documented()
