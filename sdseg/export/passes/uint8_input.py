"""An 8-bit image becomes float at once in a graph: TensorRT takes UINT8 as an input and computes nothing in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["cast_first"]


def cast_first(model: ir.Model) -> None:
    """Let every node that reads an 8-bit input read its cast to float: the exporter asks the input itself for shapes.

    The graph computes the same. One without such a cast stays as it is.
    """
    import onnx_ir as ir

    for value in model.graph.inputs:
        if value.dtype != ir.DataType.UINT8:
            continue
        uses = list(value.uses())
        casts = [node for node, _ in uses if node.op_type == "Cast"]
        for node, index in uses if casts else ():
            if node.op_type != "Cast":
                node.replace_input_with(index, casts[0].outputs[0])
                _retype(node, casts[0].outputs[0].type)
    model.graph.sort()


def _retype(node: ir.Node, type_: ir.TypeProtocol | None) -> None:
    """What moves pixels about without computing (Gather, Transpose, …) now gives the type of what it reads."""
    import onnx_ir as ir

    for value in node.outputs:
        if value.dtype == ir.DataType.UINT8:
            value.type = type_
            for user, _ in list(value.uses()):
                if user.op_type != "Cast":
                    _retype(user, type_)
