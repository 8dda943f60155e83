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
from inspect import signature
from typing import Any

import torch
from torch import fx
from torch._export.utils import _is_preservable_cia_op as kept_as_composite
from torch._ops import OpOverload
from torch.onnx._internal.exporter import _fx_passes
from torch.onnx._internal.exporter._decomp import get_onnx_implemented_overloads
from torch.onnx._internal.fx.passes.type_promotion import _TypePromotionInterpreter as TypePromotion
from torch.onnx._internal.fx.passes.type_promotion import get_type_promotion_rule

__all__ = ["quicken_decomposition"]

aten = torch.ops.aten
Call = tuple[Any, tuple[Any, ...], dict[str, Any]]  # target, arguments, arguments by name
ASSERTIONS = {aten._assert_tensor_metadata.default, aten._assert_scalar.default}  # the exporter drops them afterwards
NUMBERS = {operator.getitem, operator.mul, operator.eq, operator.ge, operator.le}  # of lists, and of lengths


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
        """The value that tracing gave, unless types may be promoted."""
        if node.op != "call_function" or "val" not in node.meta:
            return promote(self, node)
        if get_type_promotion_rule(node, self.type_promotion_table) and not _types(node) <= {torch.float32}:
            return promote(self, node)
        return node.meta["val"]

    _fx_passes.decompose_with_registry = decompose_with_registry
    TypePromotion.run_node = run_node


def _types(node: fx.Node) -> set[torch.dtype | type]:
    """Of all that goes in and comes out, of numbers that are written in the program as well."""
    values = [each.meta.get("val") for each in (*node.all_input_nodes, node)]
    written = {type(each) for each in node.args if isinstance(each, int)}
    return written | {value.dtype if isinstance(value, torch.Tensor) else type(value) for value in values}


def _decomposed(program: Any, translated: frozenset[Any]) -> Any:
    module, graph, made = program.graph_module, fx.Graph(), {}
    for node in module.graph.nodes:
        if node.op in ("placeholder", "output"):
            made[node] = graph.node_copy(node, made.__getitem__)
            if made[node].name != node.name:  # `input` is a word of Python's
                raise UnknownError
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
        arguments = fx.node.map_aggregate(arguments, lambda value: _length(value, graph))
        made[node] = _added(graph, target, arguments, named)
        made[node].meta = dict(node.meta)
    graph.eliminate_dead_code()
    (outputs,) = graph.output_node().args
    for port, output in zip(program.graph_signature.output_specs, outputs, strict=True):
        port.arg.name = output.name
    graph.set_codegen(module.graph._codegen)
    program._graph_module = fx.GraphModule(module, graph)
    program._graph_module.meta.update(module.meta)
    return program


def _added(graph: fx.Graph, target: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> fx.Node:
    name = target.overloadpacket.__name__ if isinstance(target, OpOverload) else target.__name__
    return graph.create_node("call_function", target, arguments, named, name)


def _length(value: Any, graph: fx.Graph) -> Any:
    """Of a length that is the batch, or some times the batch, the node that computes it."""
    if not isinstance(value, torch.SymInt):
        return value
    ports = graph.find_nodes(op="placeholder")
    image = next((port for port in ports if not _is_fixed(port)), None)
    if image is None:
        raise UnknownError
    batch = image.meta["val"].shape[0]
    times = value.node.expr / batch.node.expr
    if not times.is_Integer:
        raise UnknownError
    known = {node.args[0]: node for node in graph.find_nodes(op="call_function", target=aten.sym_size.int)}
    if image not in known:
        with graph.inserting_after(ports[-1]):
            known[image] = _added(graph, aten.sym_size.int, (image, 0), {})
            known[image].meta["val"] = batch
    if times == 1:
        return known[image]
    product = _added(graph, operator.mul, (known[image], int(times)), {})
    product.meta["val"] = value
    return product


def _is_fixed(port: fx.Node) -> bool:
    """Weights are, and numbers: their first length is none of the batch."""
    shape = getattr(port.meta["val"], "shape", ())
    return not (shape and isinstance(shape[0], torch.SymInt))


def _call(node: fx.Node, translated: frozenset[Any]) -> Call | fx.Node:
    """What PyTorch makes of a call; a node whose value it is."""
    target = node.target
    if target in CALLS:
        try:
            call = signature(CALLS[target]).bind(*node.args, **node.kwargs, made=node.meta["val"])
        except TypeError:  # another argument of the operator
            raise UnknownError from None
        return CALLS[target](*call.args, **call.kwargs)
    if isinstance(target, OpOverload) and target._schema.is_mutable:
        functional = _functional(target)
        if functional is None or functional not in translated or not _is_seen_once(node.args[0]):
            raise UnknownError
        return functional, node.args, node.kwargs
    if target not in NUMBERS and not (target in translated and _is_kept(target)):
        raise UnknownError
    return target, node.args, node.kwargs


def _is_seen_once(changed: Any) -> bool:
    """Whether nobody but its user sees a change of it in place: no view of it, and nothing that it is a view of."""
    if changed.op != "call_function" or not isinstance(changed.target, OpOverload) or len(changed.users) > 1:
        return False
    if changed.target is aten.dropout.default or changed.target._schema.is_mutable:  # both give what they are given
        return _is_seen_once(changed.args[0])
    return all(given.alias_info is None for given in changed.target._schema.returns)


@cache
def _functional(target: OpOverload) -> OpOverload | None:
    """`relu` of `relu_`."""
    name = target._schema.name.removeprefix("aten::")
    if not name.endswith("_") or name.startswith("_"):
        return None
    return getattr(getattr(aten, name[:-1], None), target._overloadname, None)


@cache
def _is_kept(target: Any) -> bool:
    """False for a composite of other operators that PyTorch takes apart, translated or not: one that gives a view."""
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
    return aten.split.Tensor, (image, made[0].shape[axis], axis)[: 3 if axis else 2], {}


def _contiguous(image: fx.Node, made: Any) -> fx.Node:
    return image


def _shaped(image: fx.Node, *shape: Any, made: Any) -> Call | fx.Node:
    if image.meta["val"].shape == made.shape:
        return image
    return aten.view.default, (image, list(made.shape)), {}


def _reshape(image: fx.Node, shape: Any, made: Any) -> Call:
    return aten.view.default, (image, shape), {}


def _subtracted_from(image: fx.Node, number: float, made: Any) -> Call:
    return aten.sub.Tensor, (number, image), {}


def _square(image: fx.Node, made: Any) -> Call:
    return aten.pow.Tensor_Scalar, (image, 2), {}


def _transposed(
    image: fx.Node, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, *more: Any, made: Any
) -> Call:
    axes = made.ndim - 2
    stride, padding = (value if isinstance(value, list) else axes * [value] for value in (stride, padding))
    output_padding, groups, dilation = (*more, *(axes * [0], 1, axes * [1])[len(more) :])
    arguments = (image, weight, bias, stride, padding, dilation, True, output_padding, groups)
    return aten.convolution.default, arguments, {}


CALLS: dict[Any, Callable[..., Call | fx.Node]] = {
    aten.dropout.default: _dropout,
    aten.to.dtype: _to,
    aten.chunk.default: _chunk,
    aten.contiguous.default: _contiguous,
    aten.flatten.using_ints: _shaped,
    aten.unflatten.int: _shaped,
    aten.reshape.default: _reshape,
    aten.rsub.Scalar: _subtracted_from,
    aten.square.default: _square,
    aten.conv_transpose2d.input: _transposed,
    aten.conv_transpose3d.input: _transposed,
}


if __name__ == "__main__":  # run by the loaded Python
    quicken_decomposition()
