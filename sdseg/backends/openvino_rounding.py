"""An int8 graph as OpenVINO computes it best: layers read 8 bits and answer in floats.

ONNX Runtime computes a layer in 8 bits only where its output is rounded to 8 bits as well, so the graphs have it
rounded, whatever reads it. OpenVINO does not need that: rounding what sums, normalisations and activations read costs
it two passes over the values, and their precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from sdseg.backends.openvino_nodes import constant_behind, kind

__all__ = ["round_for_layers_alone"]

LAYERS = ("Convolution", "MatMul")  # what computes in 8 bits


def round_for_layers_alone(model: Any) -> int:
    """Let everything but layers read values as they were before rounding, in place; how many readers were changed.

    A 1×1 convolution reads them so too where they are rounded for it alone and others read them unrounded: rounding
    is a pass over all values then, and takes longer than such a layer, a shortcut around a block, gains by 8 bits.
    """
    changed = 0
    for rounding, source in _roundings(model):
        for reader in list(_readers(rounding.output(0))):
            if not _is_layer(reader) and kind(reader.get_node()) != "Result":
                reader.replace_source_output(source)
                changed += 1
    for rounding, source in _roundings(model):
        readers = list(_readers(rounding.output(0)))
        if len(readers) == 1 and _is_pointwise(readers[0]) and len(source.get_target_inputs()) > 1:
            readers[0].replace_source_output(source)
            changed += 1
    return changed


def _roundings(model: Any) -> list[tuple[Any, Any]]:
    """Nodes that round activations to 8 bits, each with what it rounds; weights are rounded already."""
    nodes = [node for node in model.get_ops() if kind(node) == "FakeQuantize"]
    return [(node, node.input_value(0)) for node in nodes if constant_behind(node.input_value(0).get_node()) is None]


def _readers(output: Any) -> Iterator[Any]:
    """Inputs that read a rounded value once it is a float again: a type, an offset and a scale are on the way."""
    for reader in output.get_target_inputs():
        node = reader.get_node()
        scales = kind(node) in ("Subtract", "Multiply") and constant_behind(node.input_value(1).get_node()) is not None
        if reader.get_index() == 0 and (kind(node) == "Convert" or scales):
            yield from _readers(node.output(0))
        else:
            yield reader


def _is_layer(reader: Any) -> bool:
    return kind(reader.get_node()) in LAYERS and reader.get_index() == 0


def _is_pointwise(reader: Any) -> bool:
    node = reader.get_node()
    return kind(node) == "Convolution" and math.prod(node.input(1).get_partial_shape().to_shape()[2:]) == 1
