"""An exported graph in OpenVINO's own form, changed to what its CPU plugin computes fastest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdseg.backends.openvino_group_norm import normalise_in_place
from sdseg.backends.openvino_rounding import round_for_layers_alone
from sdseg.backends.openvino_support import Arithmetic, openvino_core

__all__ = ["WAY", "openvino_model"]
WAY = "2"  # how graphs are changed here: what was compiled of another way is not used


def openvino_model(path: Path, arithmetic: Arithmetic = "f32") -> Any:
    """The graph as an `openvino.Model`, whose inputs and outputs are the graph's.

    Parameters
    ----------
    path: the graph; its external data, if any, beside it.
    arithmetic: what its floats will be computed in. In bfloat16 group norms stay as they are: a variance that is a
        difference would lose digits.

    Its sums are the graph's, in another order; an int8 graph rounds fewer values (`round_for_layers_alone`). It can be
    compiled for 'CPU', or written for programs of one's own by `openvino.save_model(model, file,
    compress_to_fp16=False)`. Raises RuntimeError, as OpenVINO does, for a file that it cannot read, and UserError where
    OpenVINO is missing.
    """
    model = openvino_core().read_model(str(path))
    round_for_layers_alone(model)
    if arithmetic == "f32":
        normalise_in_place(model)
    return model
