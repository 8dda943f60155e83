"""Reading nodes of a graph in OpenVINO's own form (`openvino.Model`)."""

from __future__ import annotations

from typing import Any

from sdseg.core.array_types import AnyArray

__all__ = ["constant_behind", "kind", "only_reader", "readers_of_values"]

SHAPES = ("Reshape", "Broadcast", "Unsqueeze")  # what leaves the values of a constant as they are


def kind(node: Any) -> str:
    """The operator of a node, such as 'Convolution'."""
    return str(node.get_type_name())


def constant_behind(node: Any) -> AnyArray | None:
    """The constant that a node is, whatever shape or wider type it has been given since; None where it is computed."""
    while kind(node) in SHAPES or (kind(node) == "Convert" and node.get_output_element_type(0).is_real()):
        node = node.input_value(0).get_node()
    return node.get_data() if kind(node) == "Constant" else None


def readers_of_values(output: Any) -> list[Any]:
    """The inputs that read an output's values, not its shape alone."""
    return [reader for reader in output.get_target_inputs() if kind(reader.get_node()) != "ShapeOf"]


def only_reader(output: Any) -> Any:
    """The one input that reads an output's values; None where there are none or several."""
    readers = readers_of_values(output)
    return readers[0] if len(readers) == 1 else None
