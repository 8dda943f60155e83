"""What an engine is made from and what it became: shapes of a profile, precision of a graph, types of its layers."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdseg.artifacts.manifests import GraphManifest, GraphPort
from sdseg.config.export import Batches, Precision
from sdseg.core.errors import UserError
from sdseg.core.files import sha256_text
from sdseg.runtime.cache import checksum_of
from sdseg.runtime.graphs import FOREIGN, missing_graph
from sdseg.runtime.onnx_seal import open_manifest

if TYPE_CHECKING:
    from onnx import GraphProto

__all__ = ["batch_shapes", "graph_checksum", "graph_precision", "layer_precisions", "precision_problem", "read_graph"]

Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # smallest, most frequent, largest
UNTOLD = "unknown"
# The inspector names types in words, which differ between versions and kernels: "Half", "Row major linear FP16 format".
TYPES = (
    ("bf16", r"bf16|bfloat16"),
    ("fp16", r"fp16|half"),
    ("fp8", r"fp8"),
    ("fp32", r"fp32|float"),
    ("int64", r"int64"),
    ("int32", r"int32"),
    ("uint8", r"uint8"),
    ("int8", r"int8"),
    ("bool", r"bool"),
)
ONNX_TYPES: dict[int, Precision] = {1: "fp32", 10: "fp16", 16: "bf16"}  # onnx.TensorProto.DataType


def batch_shapes(ports: Sequence[GraphPort], batches: Batches) -> dict[str, Shapes]:
    """The optimisation profile: smallest, most frequent and largest shape of every input."""

    def filled(port: GraphPort, batch: int) -> tuple[int, ...]:
        return tuple(axis if isinstance(axis, int) else batch for axis in port.axes)

    return {
        port.name: (filled(port, batches.min), filled(port, batches.opt), filled(port, batches.max)) for port in ports
    }


def layer_precisions(text: str) -> dict[str, int]:
    """How many layers of an engine compute in which type: that of the first output, from the inspector's JSON.

    TensorRT 11 gives the type as `DataType`, earlier ones in the words of `Format/Datatype`. An engine built without
    detailed verbosity gives names alone: those count as unknown.
    """
    layers = json.loads(text).get("Layers", [])
    return dict(sorted(Counter(_type_of(layer) for layer in layers).items()))


def precision_problem(precision: str, layers: dict[str, int]) -> str | None:
    """What is wrong with an engine's layers: asked for half precision and built in single, which no flag would tell."""
    if not layers or set(layers) == {UNTOLD} or layers.get(precision):
        return None
    counted = ", ".join(f"{count} {name}" for name, count in layers.items())
    return f"precision: {precision} was asked for, and no layer computes in it ({counted})"


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
    return open_manifest(path), graph_precision(model.graph)


def graph_precision(graph: GraphProto) -> Precision:
    """int8 where a graph quantises, else the type of most of its weights."""
    if any(node.op_type == "QuantizeLinear" for node in graph.node):
        return "int8"
    sizes: Counter[Precision] = Counter()
    for weights in graph.initializer:
        if weights.data_type in ONNX_TYPES:
            sizes[ONNX_TYPES[weights.data_type]] += math.prod(weights.dims)
    return sizes.most_common(1)[0][0] if sizes else "fp32"


def graph_checksum(graph: Path) -> str:
    """SHA-256 of a graph and, where they lie in a file of their own, of its weights."""
    weights = graph.with_name(f"{graph.name}.data")
    own = checksum_of(graph)
    return sha256_text(own + checksum_of(weights)) if weights.is_file() else own


def _type_of(layer: Any) -> str:
    outputs = layer.get("Outputs") if isinstance(layer, dict) else None
    if not outputs:
        return UNTOLD
    words = str(outputs[0].get("DataType") or outputs[0].get("Format/Datatype") or outputs[0].get("Format") or "")
    return next((name for name, pattern in TYPES if re.search(pattern, words, re.IGNORECASE)), UNTOLD)
