"""Exported graphs: what they say about themselves, and the precision they are written in."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto, helper

from sdseg.backends.graph_checksum import graph_checksum
from sdseg.backends.graph_precision import graph_precision, read_graph
from sdseg.core.errors import UserError
from sdseg.core.files import sha256_file
from tests.helpers.tiny import CT


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([TensorProto.FLOAT], "fp32"),
        ([TensorProto.FLOAT16, TensorProto.FLOAT], "fp16"),  # statistics of a norm stay in single
        ([TensorProto.BFLOAT16, TensorProto.FLOAT, TensorProto.INT64], "bf16"),
        ([], "fp32"),
    ],
)
def test_the_precision_of_a_graph_is_that_of_its_weights(kinds: list[int], expected: str) -> None:
    sizes = [100, 4, 900]
    weights = [
        helper.make_tensor(f"w{index}", kind, [sizes[index]], [0] * sizes[index]) for index, kind in enumerate(kinds)
    ]
    assert graph_precision(helper.make_graph([], "g", [], [], weights)) == expected
    quantised = helper.make_graph([helper.make_node("QuantizeLinear", ["x", "s"], ["y"])], "g", [], [], weights)
    assert graph_precision(quantised) == "int8"


def test_reads_what_a_graph_says(bright_ct: Path, tmp_path: Path) -> None:
    graph, precision = read_graph(bright_ct)
    assert (graph.image, precision) == (CT, "fp32")
    assert graph_checksum(bright_ct) == sha256_file(bright_ct)
    with pytest.raises(UserError, match="the ONNX file is missing"):
        read_graph(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_text("no graph")
    with pytest.raises(UserError, match="not an ONNX graph"):
        read_graph(tmp_path / "model.onnx")
