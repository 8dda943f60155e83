"""Exports to ONNX in less time and to the same bytes: nothing is searched where nothing can be, or computed again.

The tests export some hundred networks, and nearly half of each export went into this: onnxscript tries each of its
fifty rules of rewriting on each node, one of them (slices that are a split) by a table of the whole graph, though a
rule can only match a node of the operator that it ends with; it describes all its operators anew; and torch computes
the same products and sums of the batch's symbol for every tensor it traces, and takes a third of a small network's
export to register what is registered.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import torch

__all__ = ["COMPUTED_ONCE", "quicken_exports"]

# What torch computes of symbolic sizes by their expressions alone: `mod`, say, also by what is known of their ranges.
COMPUTED_ONCE = ("add", "sub", "mul", "eq", "ne", "ge", "gt", "le", "lt")


def quicken_exports() -> None:
    """From the next export of this process on; until then onnxscript, which takes a second, is not loaded."""
    export = torch.onnx.export

    @wraps(export)
    def quick_export(*arguments: Any, **options: Any) -> Any:
        _quicken()
        return export(*arguments, **options)

    torch.onnx.export = quick_export


@cache
def _quicken() -> None:
    from onnxscript.rewriter._basics import MatchResult
    from onnxscript.rewriter._matcher import SimplePatternMatcher
    from torch.onnx._internal.exporter._constants import TORCHLIB_OPSET
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    match_anywhere, describe = SimplePatternMatcher.match, ONNXRegistry.from_torchlib
    described = cache(describe)

    @wraps(match_anywhere)
    def match(self: Any, model: Any, graph: Any, node: Any, **options: Any) -> Any:
        last = self.pattern.output_nodes[0].op_identifier()
        if last is not None and last[1] != node.op_type:
            return MatchResult().fail("another operator")
        return match_anywhere(self, model, graph, node, **options)

    @wraps(describe)
    def from_torchlib(opset_version: int = TORCHLIB_OPSET) -> Any:
        """A copy: operators may be added to it."""
        whole, registry = described(opset_version), ONNXRegistry()
        registry._opset_version = whole._opset_version
        registry.functions = {name: list(functions) for name, functions in whole.functions.items()}
        return registry

    SimplePatternMatcher.match = match
    ONNXRegistry.from_torchlib = staticmethod(from_torchlib)
    _compute_symbols_once()
    _register_once()


def _compute_symbols_once() -> None:
    from torch.fx.experimental.proxy_tensor import get_proxy_mode
    from torch.fx.experimental.sym_node import SymNode

    def once(name: str, compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        @wraps(compute)
        def computed(one: Any, other: Any) -> Any:
            if one.shape_env is None or get_proxy_mode() is not None:  # what is traced has a node for every result
                return compute(one, other)
            known = one.shape_env.__dict__.setdefault("_computed_once", {})  # for as long as the export
            replaced = one.shape_env._replacements_version_counter  # in expressions, by what was learnt of symbols
            kinds = (one.pytype, other.pytype, one._optimized_summation, other._optimized_summation)
            key = (name, one._expr, other._expr, replaced, kinds)
            result = known.get(key)
            if result is None:
                known[key] = result = compute(one, other)
                return result
            again = SymNode.__new__(SymNode)  # an object of its own: torch tells them apart by identity
            again.__dict__.update(result.__dict__)
            return again

        return computed

    for name in COMPUTED_ONCE:
        setattr(SymNode, f"_{name}", once(name, getattr(SymNode, f"_{name}")))


def _register_once() -> None:
    import torch._export.utils as export_utils
    from torch._C import DispatchKey, _dispatch_get_registrations_for_dispatch_key
    from torch._ops import OperatorBase

    materialise, register_anything = export_utils._materialize_cpp_cia_ops, OperatorBase.py_impl
    materialised: list[str] = []

    @wraps(materialise)
    def materialise_new() -> None:
        """For each of the operators' namespaces torch goes through all of them."""
        registered = _dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
        if registered != materialised:
            materialise()
            materialised[:] = registered

    @wraps(register_anything)
    def py_impl(operator: Any, key: Any) -> Callable[[Any], Any]:
        """Ten thousand times in an export, with types of a decorator that are put together each time."""
        if not isinstance(key, DispatchKey) or key == DispatchKey.Python or key in operator.py_kernels:
            return register_anything(operator, key)

        def register(kernel: Any) -> Any:
            operator.py_kernels[key] = kernel
            operator._dispatch_cache.clear()
            return kernel

        return register

    export_utils._materialize_cpp_cia_ops = materialise_new
    OperatorBase.py_impl = py_impl


if __name__ == "__main__":  # run by the loaded Python
    quicken_exports()
