"""Folding of what is the same for every image of a batch: the timestep, its embedding, a structure's index.

PyTorch spreads such a value over the batch, whose size the exporter does not know, and so carries all that follows
from it into the graph. Here one row of it is computed instead, which needs no size, and broadcasting spreads it again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript.optimizer import fold_constants

__all__ = ["fold_rows"]

# Each row of the result depends on the same row of the input alone.
UNARY = {"Cast", "Cos", "Erf", "Exp", "Gelu", "Identity", "Neg", "Sigmoid", "Sin", "Sqrt", "Swish", "Tanh"}
BROADCASTING = {"Add", "Div", "Mul", "Pow", "Sub"}
LARGEST = 1 << 26  # elements of a folded constant: a guard against filling the file, far above any embedding


def fold_rows(model: ir.Model) -> int:
    """Replace values whose rows are all equal by constants of one row, in place; returns how many nodes went.

    A value counts as such when it is a constant spread over the batch (`Expand`) or computed row by row from one. It
    is folded where broadcasting puts the rows back; elsewhere (a `Concat` with the image's features) it stays.
    """
    before = len(model.graph)
    rows: dict[ir.Value, ir.Value] = {}  # a value -> its one row
    inserted: set[ir.Node] = set()
    for node in list(model.graph):
        if len(node.outputs) == 0 or node.domain not in ("", "ai.onnx"):
            continue
        if _is_source(node):
            rows[node.outputs[0]] = _row_of_source(node, inserted, model)
        elif any(value in rows for value in node.inputs if value is not None):
            if _is_rowwise(node, rows):
                rows.update(_twin(node, rows, inserted))
            else:
                _use_rows(node, rows)
    fold_constants(
        model, input_size_limit=LARGEST, output_size_limit=LARGEST, should_fold=lambda node: node in inserted
    )
    RemoveUnusedNodesPass()(model)
    return before - len(model.graph)


def _is_source(node: ir.Node) -> bool:
    """A constant spread over the batch."""
    if node.op_type != "Expand" or node.inputs[0] is None or node.inputs[0].const_value is None:
        return False
    spread, shape = node.inputs[0].shape, node.outputs[0].shape
    if spread is None or not _leads_with_batch(shape) or shape is None:
        return False
    if not all(isinstance(size, int) for size in shape[1:]) or math.prod(_sizes(shape)) > LARGEST:
        return False
    return len(spread) < len(shape) or spread[0] == 1


def _row_of_source(node: ir.Node, inserted: set[ir.Node], model: ir.Model) -> ir.Value:
    """The same `Expand`, to one row."""
    shape = node.outputs[0].shape
    if shape is None:
        raise ValueError("a source has a shape")  # _is_source has seen to it
    sizes = ir.tensor([1, *_sizes(shape)], dtype=ir.DataType.INT64, name=f"{node.outputs[0].name}_row_shape")
    row_shape = ir.Value(
        name=sizes.name, shape=ir.Shape([len(shape)]), type=ir.TensorType(sizes.dtype), const_value=sizes
    )
    model.graph.initializers[str(sizes.name)] = row_shape
    return _insert(node, [node.inputs[0], row_shape], inserted)[0]


def _is_rowwise(node: ir.Node, rows: dict[ir.Value, ir.Value]) -> bool:
    """Whether each row of what `node` gives follows from the same row of a folded value, and from constants."""
    inputs = [value for value in node.inputs if value is not None]
    if not all(value in rows or value.const_value is not None for value in inputs):
        return False
    first, rank = node.inputs[0], len(node.outputs[0].shape or ())
    if not all(_leads_with_batch(output.shape) for output in node.outputs):
        return False
    if node.op_type in UNARY:
        return True
    if node.op_type in BROADCASTING:
        return all(_fits(value, rank, rows) for value in inputs)
    if node.op_type == "Gemm":
        ordinary = not node.attributes.get_int("transA", 0)
        return ordinary and first in rows and all(v not in rows for v in inputs[1:]) and _fits(inputs[-1], 2, rows)
    if node.op_type == "MatMul":
        return first in rows and inputs[1] not in rows and len(inputs[1].shape or ()) == 2
    if node.op_type == "Gather":  # rows of a table, by a folded index
        return inputs[1] in rows and first not in rows and node.attributes.get_int("axis", 0) == 0
    if node.op_type == "Concat":
        return node.attributes.get_int("axis", 0) % rank != 0 and all(value in rows for value in inputs)
    if node.op_type == "Split":
        return node.attributes.get_int("axis", 0) % rank != 0 and first in rows
    if node.op_type in ("Slice", "Unsqueeze"):
        return first in rows and _axes_leave_rows(node, rank)
    return False


def _axes_leave_rows(node: ir.Node, rank: int) -> bool:
    """Whether `Slice` (fourth input) or `Unsqueeze` (second) names its axes, and none of them is the batch."""
    position = 3 if node.op_type == "Slice" else 1
    axes = node.inputs[position] if len(node.inputs) > position else None
    if axes is None or axes.const_value is None:
        return False
    return all(int(axis) % rank != 0 for axis in axes.const_value.numpy().reshape(-1))


def _fits(value: ir.Value, rank: int, rows: dict[ir.Value, ir.Value]) -> bool:
    """Broadcast to `rank` axes, `value` does not reach across the batch: of that rank itself, or without the axis."""
    shape = value.shape
    if shape is None:
        return False
    if value in rows:
        return len(shape) == rank
    return len(shape) < rank or (len(shape) == rank and shape[0] == 1)


def _twin(node: ir.Node, rows: dict[ir.Value, ir.Value], inserted: set[ir.Node]) -> dict[ir.Value, ir.Value]:
    """The same node on one row."""
    inputs = [value if value is None else rows.get(value, value) for value in node.inputs]
    return dict(zip(node.outputs, _insert(node, inputs, inserted), strict=True))


def _insert(node: ir.Node, inputs: Iterable[ir.Value | None], inserted: set[ir.Node]) -> tuple[ir.Value, ...]:
    """A copy of `node` with other inputs, put before it; its outputs have one row each."""
    copy = ir.Node(node.domain, node.op_type, inputs, node.attributes.values(), num_outputs=len(node.outputs))
    for theirs, ours in zip(node.outputs, copy.outputs, strict=True):
        ours.name, ours.type = f"{theirs.name}_row", theirs.type
        ours.shape = ir.Shape([1, *(theirs.shape or ())[1:]])
    node.prepend(copy)
    inserted.add(copy)
    return tuple(copy.outputs)


def _use_rows(node: ir.Node, rows: dict[ir.Value, ir.Value]) -> None:
    """Give `node` the one row, where a value of the whole batch beside it makes broadcasting spread the row again."""
    if node.op_type not in BROADCASTING:
        return
    batch_values = [
        value for value in node.inputs if value is not None and value not in rows and _has_batch(value, node)
    ]
    for index, value in enumerate(node.inputs):
        if (
            value is not None
            and value in rows
            and batch_values
            and len(value.shape or ()) == len(batch_values[0].shape or ())
        ):
            node.replace_input_with(index, rows[value])


def _has_batch(value: ir.Value, node: ir.Node) -> bool:
    """Whether `value` has as many rows as what `node` gives."""
    own, other = value.shape, node.outputs[0].shape
    return own is not None and other is not None and len(own) == len(other) and len(own) > 0 and own[0] == other[0]


def _leads_with_batch(shape: ir.Shape | None) -> bool:
    return shape is not None and len(shape) > 0 and not isinstance(shape[0], int)


def _sizes(shape: ir.Shape) -> list[int]:
    return [size for size in shape[1:] if isinstance(size, int)]
