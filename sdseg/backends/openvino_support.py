"""OpenVINO's Python package, without the message that importing it would send."""

from __future__ import annotations

import sys
from typing import Any

from sdseg.core.errors import UserError

__all__ = ["INSTALL", "computes_in_bf16", "load_openvino"]

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


def computes_in_bf16(core: Any) -> bool:
    """Whether this processor computes in bfloat16 by itself; `core` is an openvino.Core."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
