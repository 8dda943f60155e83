"""An int8 graph as OpenVINO computes it best: layers read 8 bits and answer in floats.

ONNX Runtime computes a layer in 8 bits only where its output is rounded to 8 bits as well, so the graphs have it
rounded, whatever reads it. OpenVINO does not need that: rounding what sums, normalisations and activations read costs
it two passes over the values, and their precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from sdseg.backends.openvino_nodes import constant_behind, kind, only_reader

__all__ = ["round_for_layers_alone"]

LAYERS = ("Convolution", "MatMul")  # what computes in 8 bits


def round_for_layers_alone(model: Any) -> int:
    """Let everything but layers read values as they were before rounding, in place; how many readers were changed.

    A 1×1 convolution reads them so too where they are rounded for it alone and others read them unrounded: rounding
    is a pass over all values then, and takes longer than such a layer, a shortcut around a block, gains by 8 bits.
    """
    changed = 0
    for rounding, source in _roundings(model):
        for reader in list(_readers(rounding)):
            if not _is_layer(reader) and kind(reader.get_node()) != "Result":
                reader.replace_source_output(source)
                changed += 1
    for rounding, source in _roundings(model):
        readers = list(_readers(rounding))
        if len(readers) == 1 and _is_pointwise(readers[0]) and len(source.get_target_inputs()) > 1:
            readers[0].replace_source_output(source)
            changed += 1
    return changed


def _roundings(model: Any) -> list[tuple[Any, Any]]:
    """Nodes that round activations to 8 bits, each with what it rounds; weights are rounded already."""
    nodes = [node for node in model.get_ops() if kind(node) == "FakeQuantize"]
    return [(node, node.input_value(0)) for node in nodes if constant_behind(node.input_value(0).get_node()) is None]


def _readers(rounding: Any) -> Iterator[Any]:
    """Inputs that read a rounded value once it is a float again, which takes a type, an offset and a scale."""
    for to_bytes in _of_kind(rounding.output(0), "Convert"):
        for to_floats in _of_kind(to_bytes.output(0), "Convert"):
            output = to_floats.output(0)
            for step in ("Subtract", "Multiply"):  # once each: what multiplies after that is the network's
                reader = only_reader(output)
                if reader is not None and kind(reader.get_node()) == step and reader.get_index() == 0:
                    output = reader.get_node().output(0)
            yield from output.get_target_inputs()


def _of_kind(output: Any, name: str) -> list[Any]:
    """The nodes of a kind that read an output."""
    nodes = [reader.get_node() for reader in output.get_target_inputs()]
    return [node for node in nodes if kind(node) == name]


def _is_layer(reader: Any) -> bool:
    return kind(reader.get_node()) in LAYERS and reader.get_index() == 0


def _is_pointwise(reader: Any) -> bool:
    node = reader.get_node()
    return kind(node) == "Convolution" and math.prod(node.input(1).get_partial_shape().to_shape()[2:]) == 1
