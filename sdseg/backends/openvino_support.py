"""OpenVINO's Python package, without the message that importing it would send."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any, Literal

from sdseg.artifacts.manifests import GraphManifest
from sdseg.backends.exact_sums import needs_exact_sums
from sdseg.core.errors import UserError

__all__ = [
    "INSTALL",
    "Arithmetic",
    "compile_properties",
    "computes_in_bf16",
    "integer_properties",
    "load_openvino",
    "openvino_core",
]

Arithmetic = Literal["f32", "bf16"]  # what floats of a graph are computed in
INSTALL = "pip install 'sdseg[openvino]'"
TELEMETRY = "openvino_telemetry"


def load_openvino() -> Any:
    """The module `openvino`. Raises UserError where it is missing.

    Its first import reports itself to its maker, by `openvino_telemetry`, unless that cannot be imported: then a
    stand-in within OpenVINO does nothing instead. sdseg sends nothing: meanwhile it is made to look missing.
    """
    modules: dict[str, Any] = sys.modules
    hidden = TELEMETRY not in modules
    if hidden:
        modules[TELEMETRY] = None
    try:
        import openvino
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "openvino"
        what = "OpenVINO is not installed" if missing else f"OpenVINO cannot be imported: {error}"
        raise UserError(what, where="openvino", remedy=INSTALL) from None
    finally:
        if hidden:
            del modules[TELEMETRY]
    return openvino


@cache
def openvino_core() -> Any:
    """The one openvino.Core of this process, kept until it ends. Raises UserError where OpenVINO is missing.

    A Core gives its thread a stack for signal handlers and, when it goes, puts back the one before: where two go in
    the order in which they came, that is a stack already freed, and the next signal, Ctrl-C too, is a crash.
    """
    return load_openvino().Core()


def computes_in_bf16() -> bool:
    """Whether this processor computes in bfloat16 by itself."""
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def compile_properties(arithmetic: Arithmetic, threads: int, manifest: GraphManifest) -> dict[str, Any]:
    """How the graph of this manifest is compiled for the CPU; threads: of one call, 0 for OpenVINO's choice."""
    properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": arithmetic, "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        properties["INFERENCE_NUM_THREADS"] = threads
    return properties | integer_properties(manifest)


def integer_properties(manifest: GraphManifest) -> dict[str, str]:
    """What makes OpenVINO compute a graph rightly on this processor: nothing, or in single precision.

    For graphs whose sums do not hold (`needs_exact_sums`) it has no exact way, as ONNX Runtime has: what is 8-bit in
    the graph is computed in floats. The property is OpenVINO's own, in none of its lists of properties.
    """
    return {"LP_TRANSFORMS_MODE": "NO"} if needs_exact_sums(manifest) else {}
