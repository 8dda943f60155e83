"""PyTorch's second pass of an export without tracing again, where next to nothing would change: the same graph.

Between tracing and translating, the exporter runs every operator of the traced program again, symbolic shapes and all,
to take apart those that ONNX has no translation of. In this package's networks these are a handful, each written here
as what PyTorch makes of it; a program with any other is left to PyTorch. This takes away half of an export's time.
The graphs differ in the numbers within some names of values alone (tests/export/test_quick_exports.py).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import torch
from torch import fx
from torch._export.utils import _is_preservable_cia_op as kept_as_composite
from torch._ops import OpOverload
from torch.onnx._internal.exporter import _fx_passes
from torch.onnx._internal.exporter._decomp import get_onnx_implemented_overloads
from torch.onnx._internal.fx.passes.type_promotion import _TypePromotionInterpreter as TypePromotion

__all__ = ["quicken_decomposition"]

aten = torch.ops.aten
Call = tuple[Any, tuple[Any, ...], dict[str, Any]]  # target, arguments, arguments by name
ASSERTIONS = {aten._assert_tensor_metadata.default}  # the exporter drops them afterwards


class UnknownError(Exception):
    """An operator that is left to PyTorch."""


def quicken_decomposition() -> None:
    """From the next export of this process on."""
    retrace, promote = _fx_passes.decompose_with_registry, TypePromotion.run_node

    @wraps(retrace)
    def decompose_with_registry(program: Any, registry: Any) -> Any:
        try:
            return _decomposed(program, frozenset(get_onnx_implemented_overloads(registry)))
        except UnknownError:
            return retrace(program, registry)

    @wraps(promote)
    def run_node(self: Any, node: fx.Node) -> Any:
        """What is traced has its value: it is computed again where types are promoted alone."""
        if node.op != "call_function" or "val" not in node.meta:
            return promote(self, node)
        if _types(node) <= {torch.float32}:
            return node.meta["val"]
        return promote(self, node)

    _fx_passes.decompose_with_registry = decompose_with_registry
    TypePromotion.run_node = run_node


def _types(node: fx.Node) -> set[torch.dtype | type]:
    """Of all that goes in; numbers that are written in the program take the type of the tensors beside them."""
    values = [each.meta.get("val") for each in node.all_input_nodes]
    return {value.dtype if isinstance(value, torch.Tensor) else type(value) for value in values}


def _decomposed(program: Any, translated: frozenset[Any]) -> Any:
    module, graph, made = program.graph_module, fx.Graph(), {}
    for node in module.graph.nodes:
        if node.op in ("placeholder", "output"):
            made[node] = graph.node_copy(node, made.__getitem__)
            continue
        if node.op != "call_function":
            raise UnknownError
        if node.target in ASSERTIONS:
            continue
        call = _call(node, translated)
        if isinstance(call, fx.Node):
            made[node] = made[call]
            continue
        target, arguments, named = fx.map_arg(call, made.__getitem__)
        name = target.overloadpacket.__name__ if isinstance(target, OpOverload) else target.__name__
        made[node] = graph.create_node("call_function", target, arguments, named, name)
        made[node].meta = dict(node.meta)
    graph.eliminate_dead_code()
    (outputs,) = graph.output_node().args
    for port, output in zip(program.graph_signature.output_specs, outputs, strict=True):
        port.arg.name = output.name
    graph.set_codegen(module.graph._codegen)
    program._graph_module = fx.GraphModule(module, graph)
    program._graph_module.meta.update(module.meta)
    return program


def _call(node: fx.Node, translated: frozenset[Any]) -> Call | fx.Node:
    """What PyTorch makes of a call; a node whose value it is."""
    target = node.target
    if target in CALLS:
        return CALLS[target](*node.args, **node.kwargs, made=node.meta["val"])
    if isinstance(target, OpOverload) and target._schema.is_mutable:
        (changed, *_), functional = node.args, _functional(target)
        if functional is None or len(changed.users) > 1 or functional not in translated:
            raise UnknownError
        return functional, node.args, node.kwargs
    if target is not operator.getitem and not (target in translated and _is_kept(target)):
        raise UnknownError
    return target, node.args, node.kwargs


@cache
def _functional(target: OpOverload) -> OpOverload | None:
    """`relu` of `relu_`."""
    name = target._schema.name.removeprefix("aten::")
    if not name.endswith("_") or name.startswith("_"):
        return None
    return getattr(getattr(aten, name[:-1], None), target._overloadname, None)


@cache
def _is_kept(target: Any) -> bool:
    """No composite of others, or one that PyTorch leaves whole: those that give a view of their input it does not."""
    if not isinstance(target, OpOverload):
        return True
    return not target._can_decompose() or kept_as_composite(target)


def _dropout(image: fx.Node, share: float, train: bool, made: Any) -> fx.Node:
    if train:
        raise UnknownError
    return image


def _to(image: fx.Node, kind: torch.dtype, made: Any) -> Call | fx.Node:
    return image if image.meta["val"].dtype == kind else (aten._to_copy.default, (image,), {"dtype": kind})


def _chunk(image: fx.Node, parts: int, axis: int = 0, *, made: Any) -> Call:
    size = made[0].shape[axis]
    if not isinstance(size, int):  # of the batch
        raise UnknownError
    return aten.split.Tensor, (image, size, axis)[: 3 if axis else 2], {}


def _reshape(image: fx.Node, shape: Any, made: Any) -> Call:
    return aten.view.default, (image, shape), {}


def _transposed(
    image: fx.Node, weight: Any, bias: Any = None, stride: Any = (1, 1), padding: Any = (0, 0), *more: Any, made: Any
) -> Call:
    output_padding, groups, dilation = (*more, *([0, 0], 1, [1, 1])[len(more) :])
    arguments = (image, weight, bias, stride, padding, dilation, True, output_padding, groups)
    return aten.convolution.default, arguments, {}


CALLS: dict[Any, Callable[..., Call | fx.Node]] = {
    aten.dropout.default: _dropout,
    aten.to.dtype: _to,
    aten.chunk.default: _chunk,
    aten.reshape.default: _reshape,
    aten.conv_transpose2d.input: _transposed,
}


if __name__ == "__main__":  # run by the loaded Python
    quicken_decomposition()
