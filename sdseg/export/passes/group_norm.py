"""Group normalisation in single precision as instance normalisation, which every runtime computes in one step.

ONNX Runtime has no CPU kernel for `GroupNormalization`: it writes each out in some thirty elementary steps, which
take longer and let its memory planner think for seconds when a session opens. In half precision the operator stays,
since it alone computes its statistics in single precision (`stash_type`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

__all__ = ["spread_group_norms"]


def spread_group_norms(model: ir.Model) -> int:
    """Replace every `GroupNormalization` of float32 [N,C,…] in place; returns how many there were.

    Channels of a group become one long row, which is normalised; scale and bias per channel follow as a product and a
    sum. Nodes whose scale, bias or sizes other than the batch are no constants are left as they are.
    """
    nodes = [node for node in model.graph if node.op_type == "GroupNormalization" and node.domain in ("", "ai.onnx")]
    replaced = sum(_replace(node, model) for node in nodes)
    if replaced:
        RemoveUnusedNodesPass()(model)
    return replaced


def _replace(node: ir.Node, model: ir.Model) -> bool:
    image, scale, bias = node.inputs
    if image is None or image.dtype != ir.DataType.FLOAT or image.shape is None:
        return False
    sizes = [size for size in image.shape[1:] if isinstance(size, int)]  # of channels, rows, columns
    weights = [
        value.const_value.numpy() for value in (scale, bias) if value is not None and value.const_value is not None
    ]
    if len(sizes) + 1 != len(image.shape) or [each.shape for each in weights] != [(sizes[0],), (sizes[0],)]:
        return False
    groups, epsilon = node.attributes.get_int("num_groups", 1), node.attributes.get_float("epsilon", 1e-5)
    row, wide = math.prod(sizes) // groups, (sizes[0], *(1 for _ in sizes[1:]))
    put = _Put(node, model, image.shape[0])
    ones, zeros = put.constant("ones", np.ones(groups, np.float32)), put.constant("zeros", np.zeros(groups, np.float32))
    rows = put.value("Reshape", "rows", (image, put.constant("row", np.array([0, groups, row]))), [groups, row])
    normal = put.value("InstanceNormalization", "normal", (rows, ones, zeros), [groups, row], epsilon=epsilon)
    back = put.value("Reshape", "back", (normal, put.constant("sizes", np.array([0, *sizes]))), sizes)
    scaled = put.value("Mul", "scaled", (back, put.constant("scale", weights[0].reshape(wide))), sizes)
    moved = put.value("Add", "moved", (scaled, put.constant("bias", weights[1].reshape(wide))), sizes)
    node.outputs[0].replace_all_uses_with(moved, replace_graph_outputs=True)
    model.graph.remove(node, safe=True)
    return True


@dataclass(frozen=True)
class _Put:
    """Makes what stands in a node's place, named after what it gave."""

    node: ir.Node
    model: ir.Model
    batch: int | ir.SymbolicDim

    def constant(self, part: str, values: npt.NDArray[Any]) -> ir.Value:
        tensor = ir.tensor(values, name=self._name(part))
        kind = ir.TensorType(tensor.dtype)
        initializer = ir.Value(name=tensor.name, shape=ir.Shape(values.shape), type=kind, const_value=tensor)
        self.model.graph.initializers[self._name(part)] = initializer
        return initializer

    def value(
        self, operator: str, part: str, inputs: tuple[ir.Value, ...], sizes: list[int], **attributes: float
    ) -> ir.Value:
        node = ir.node(operator, inputs, attributes)
        (output,) = node.outputs
        output.name, output.type = self._name(part), ir.TensorType(ir.DataType.FLOAT)
        output.shape = ir.Shape([self.batch, *sizes])
        self.node.prepend(node)
        return output

    def _name(self, part: str) -> str:
        return f"{self.node.outputs[0].name}_{part}"
