"""Exports to ONNX in a third of the time and to the same graphs: no search where nothing can be, no tracing again.

The tests export some hundred networks. Half of each export went into a second tracing (quick_decomposition.py), and a
fifth into this: onnxscript tries each of its fifty rules of rewriting on each node, one of them (slices that are a
split) by a table of the whole graph, though a rule can only match a node of the operator that it ends with; and it
describes all its operators anew.
"""

from __future__ import annotations

import logging
from functools import cache, wraps
from typing import Any

import torch

__all__ = ["quicken_exports"]


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
    if __name__ != "__main__":
        from tests.helpers.quick_decomposition import quicken_decomposition

        quicken_decomposition()


if __name__ == "__main__":  # run by the loaded Python, as the other file is: its forks find the operators described
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    quicken_exports()
    _quicken()
    logging.disable()  # operators of torchvision are not described: it is not installed
    ONNXRegistry.from_torchlib()
    logging.disable(logging.NOTSET)
