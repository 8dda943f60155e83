"""The precision an exported graph is written in, told from its weights and operators."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from sdseg.artifacts.manifests import GraphManifest
from sdseg.backends.graph import FOREIGN, missing_graph
from sdseg.backends.graph_checksum import open_manifest
from sdseg.config.export import Precision
from sdseg.core.errors import UserError

if TYPE_CHECKING:
    from onnx import GraphProto

__all__ = ["graph_precision", "read_graph"]

ONNX_TYPES: dict[int, Precision] = {1: "fp32", 10: "fp16", 16: "bf16"}  # onnx.TensorProto.DataType
INT8: tuple[Precision, ...] = ("int8_mixed", "int8_weights")


def read_graph(path: Path) -> tuple[GraphManifest, Precision]:
    """What an exported graph says about itself, and the precision it is written in, told from the graph.

    Raises UserError for a file that is no ONNX graph, has changed since it was exported, or is somebody else's.
    """
    import onnx

    if not path.is_file():
        raise missing_graph(path)
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # of protobuf's, which share no base class
        what = f"not an ONNX graph ({type(error).__name__})"
        raise UserError(what, where=path, remedy=FOREIGN) from None
    manifest, precision = open_manifest(path), graph_precision(model.graph)
    if precision == "int8":  # the graph does not tell how much of it is
        precision = next((each for each in INT8 if each == manifest.precision), precision)
    return manifest, precision


def graph_precision(graph: GraphProto) -> Precision:
    """int8 where a graph quantises, or has 8-bit weights, else the type of most of its weights."""
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in graph.node):
        return "int8"
    sizes: Counter[Precision] = Counter()
    for weights in graph.initializer:
        if weights.data_type in ONNX_TYPES:
            sizes[ONNX_TYPES[weights.data_type]] += math.prod(weights.dims)
    return sizes.most_common(1)[0][0] if sizes else "fp32"
