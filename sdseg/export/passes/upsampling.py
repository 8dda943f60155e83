"""A convolution of an enlarged map as four smaller ones of the map itself: the same sums, fewer products.

Where each pixel is doubled in both directions (nearest neighbour), the nine pixels that a 3×3 convolution looks at are
four pixels of the map before, some of them twice. Which four depends on whether row and column are even or odd, and the
weights of equal pixels can be added beforehand: four convolutions of 2×2, one for each parity, whose results interlock.
They take 4/9 of the products and never write the enlarged map. Sums of weights round once more, in the last digit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

__all__ = ["merge_upsampling"]

FLOATS = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
PLAIN = {"strides": (1, 1), "dilations": (1, 1)}
PARITIES = ((0, 0), (0, 1), (1, 0), (1, 1))  # of row and column, in the order in which DepthToSpace interlocks


def merge_upsampling(model: ir.Model) -> int:
    """Replace every nearest `Resize` by 2 that a 3×3 `Conv` alone reads, in place; returns how many there were.

    Convolutions with a stride, gaps, groups or other padding than one pixel are left as they are, and so is what
    enlarges volumes.
    """
    nodes = [node for node in model.graph if node.op_type == "Resize" and _doubles(node)]
    replaced = sum(_replace(node, model) for node in nodes)
    if replaced:
        RemoveUnusedNodesPass()(model)
    return replaced


def _doubles(node: ir.Node) -> bool:
    """Whether each pixel of [N,C,H,W] becomes four."""
    scales = node.inputs[2] if len(node.inputs) > 2 else None
    if scales is None or scales.const_value is None:
        return False
    nearest = all(node.attributes.get_string(name, "") == value for name, value in NEAREST.items())
    return nearest and scales.const_value.numpy().tolist() == [1.0, 1.0, 2.0, 2.0]


def _replace(node: ir.Node, model: ir.Model) -> bool:
    image, (enlarged,) = node.inputs[0], node.outputs
    uses = list(enlarged.uses())
    if image is None or image.dtype not in FLOATS or len(uses) != 1 or enlarged.is_graph_output():
        return False
    convolution = uses[0].node
    weights = _weights(convolution)
    kernel, bias, (whole,) = convolution.inputs[1], convolution.inputs[2:3], convolution.outputs
    if weights is None or kernel is None or convolution.inputs[0] is not enlarged:
        return False
    parts = []
    for row, column in PARITIES:
        summed = _summed(_summed(weights.astype(np.float32), row, 2), column, 3).astype(weights.dtype)
        smaller = _constant(f"{kernel.name}_{row}{column}", summed, image.dtype, model)
        pads = [1 - row, 1 - column, row, column]
        part = _put(convolution, "Conv", (image, smaller, *bias), f"{row}{column}", pads=pads)
        if whole.shape is not None and image.shape is not None:
            part.shape = ir.Shape([*whole.shape[:2], *image.shape[2:]])
        parts.append(part)
    together = _put(convolution, "Concat", tuple(parts), "together", axis=1)
    interlocked = _put(convolution, "DepthToSpace", (together,), "interlocked", blocksize=2, mode="DCR")
    interlocked.shape = whole.shape
    whole.replace_all_uses_with(interlocked, replace_graph_outputs=True)
    model.graph.remove(convolution, safe=True)
    return True


def _weights(node: ir.Node) -> npt.NDArray[Any] | None:
    """Those of a 3×3 convolution [out,in,3,3] that keeps the size; None for any other node."""
    kernel = node.inputs[1] if node.op_type == "Conv" and node.domain in ("", "ai.onnx") else None
    if kernel is None or kernel.const_value is None or list(kernel.shape or ())[2:] != [3, 3]:
        return None
    attributes = node.attributes
    plain = all(tuple(attributes.get_ints(name, usual)) == usual for name, usual in PLAIN.items())
    padded = tuple(attributes.get_ints("pads", ())) == (1, 1, 1, 1)
    if not (plain and padded) or attributes.get_int("group", 1) != 1:
        return None
    return kernel.const_value.numpy()


def _summed(weights: npt.NDArray[np.float32], parity: int, axis: int) -> npt.NDArray[np.float32]:
    """Three weights along `axis` as two: of an even pixel the last two fall on one pixel, of an odd the first two."""
    first, middle, last = np.moveaxis(weights, axis, 0)
    pair = (first, middle + last) if parity == 0 else (first + middle, last)
    return np.stack(pair, axis)


def _constant(name: str, values: npt.NDArray[Any], kind: ir.DataType, model: ir.Model) -> ir.Value:
    known = model.graph.initializers.get(name)  # of another convolution with the same weights
    if known is not None:
        return known
    tensor = ir.tensor(np.ascontiguousarray(values), dtype=kind, name=name)
    value = ir.Value(name=name, shape=ir.Shape(values.shape), type=ir.TensorType(kind), const_value=tensor)
    model.graph.initializers[name] = value
    return value


def _put(
    before: ir.Node, operator: str, inputs: tuple[ir.Value | None, ...], part: str, **attributes: list[int] | int | str
) -> ir.Value:
    """The output of a new node that stands before the convolution it takes the place of, named after what that gave."""
    node = ir.node(operator, inputs, attributes)
    (output,), (whole,) = node.outputs, before.outputs
    output.name, output.type = f"{whole.name}_{part}", whole.type
    before.prepend(node)
    return output
