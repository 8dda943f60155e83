"""Reading nodes of a graph in OpenVINO's own form (`openvino.Model`)."""

from __future__ import annotations

from typing import Any

from sdseg.core.array_types import AnyArray

__all__ = ["constant_behind", "kind", "only_reader"]

SHAPES = ("Reshape", "Broadcast", "Unsqueeze", "Convert")  # what leaves the values of a constant as they are


def kind(node: Any) -> str:
    """The operator of a node, such as 'Convolution'."""
    return str(node.get_type_name())


def constant_behind(node: Any) -> AnyArray | None:
    """The constant that a node is, whatever shape and type it has been given since; None where it is computed."""
    while kind(node) in SHAPES:
        node = node.input_value(0).get_node()
    return node.get_data() if kind(node) == "Constant" else None


def only_reader(output: Any) -> Any:
    """The one input that reads an output's values; None where there are none or several."""
    readers = [reader for reader in output.get_target_inputs() if kind(reader.get_node()) != "ShapeOf"]
    return readers[0] if len(readers) == 1 else None
