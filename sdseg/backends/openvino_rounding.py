"""An int8 graph as OpenVINO computes it best: layers read 8 bits and answer in floats.

ONNX Runtime computes a layer in 8 bits only where its output is rounded to 8 bits as well, so the graphs have it
rounded, whatever reads it. OpenVINO does not need that: rounding what sums, normalisations and activations read costs
it two passes over the values, and their precision. A value outside the range that calibration saw is not clipped then.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from sdseg.backends.openvino_nodes import constant_behind, kind, only_reader, readers_of_values

__all__ = ["round_for_layers_alone"]

LAYERS = ("Convolution", "MatMul")  # what computes in 8 bits, given such weights
BYTES = ("i8", "u8")


def round_for_layers_alone(model: Any) -> int:
    """Let all but layers with 8-bit weights read values as before rounding, in place; how many readers were changed.

    A 1×1 convolution reads them so too where they are rounded for it alone and others read them unrounded: rounding
    is a pass over all values then, and takes longer than such a layer, a shortcut around a block, gains by 8 bits.
    """
    changed = 0
    for rounding, source in _roundings(model):
        for reader in list(_readers(rounding)):
            if not _computes_in_bytes(reader) and kind(reader.get_node()) != "Result":
                reader.replace_source_output(source)
                changed += 1
    for rounding, source in _roundings(model):
        readers = list(_readers(rounding))
        if len(readers) == 1 and _is_pointwise(readers[0]) and len(readers_of_values(source)) > 1:
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
            if (offset := _constant_step(output, "Subtract")) is not None:
                output = offset.output(0)
            scale = _constant_step(output, "Multiply")  # what is multiplied by after that is the network's
            if scale is not None and _is_step_of(rounding, scale):
                yield from scale.output(0).get_target_inputs()


def _of_kind(output: Any, name: str) -> list[Any]:
    """The nodes of a kind that read an output."""
    nodes = [reader.get_node() for reader in output.get_target_inputs()]
    return [node for node in nodes if kind(node) == name]


def _constant_step(output: Any, name: str) -> Any:
    """The one node that reads an output, if it is of this kind and its other operand a constant; else None."""
    reader = only_reader(output)
    if reader is None or kind(reader.get_node()) != name or reader.get_index() != 0:
        return None
    node = reader.get_node()
    return None if constant_behind(node.input_value(1).get_node()) is None else node


def _is_step_of(rounding: Any, scale: Any) -> bool:
    """Whether a product is by the distance of two values that a rounding leaves."""
    low, high, factor = (
        constant_behind(value.get_node())
        for value in (rounding.input_value(1), rounding.input_value(2), scale.input_value(1))
    )
    if low is None or high is None or factor is None or not low.size == high.size == factor.size:
        return False
    steps = (high - low).reshape(-1) / (rounding.get_attributes()["levels"] - 1)
    return bool(np.allclose(steps, factor.reshape(-1), rtol=1e-3))


def _computes_in_bytes(reader: Any) -> bool:
    """Whether an input is that of a layer with 8-bit weights."""
    node = reader.get_node()
    if kind(node) not in LAYERS or reader.get_index() != 0:
        return False
    weights = node.input_value(1).get_node()
    while kind(weights) != "Constant" and weights.get_input_size() > 0:
        weights = weights.input_value(0).get_node()
    return weights.get_output_element_type(0).get_type_name() in BYTES


def _is_pointwise(reader: Any) -> bool:
    node = reader.get_node()
    return kind(node) == "Convolution" and math.prod(node.input(1).get_partial_shape().to_shape()[2:]) == 1
