"""The compute device a user asked for, or an error: never another one; and the memory that was taken there."""

from __future__ import annotations

import sys
from typing import Any

import torch

from sdseg.core.errors import UserError

__all__ = ["peak_memory", "torch_device"]


def torch_device(name: str) -> torch.device:
    """`cpu` or `cuda`. Raises UserError when CUDA is asked for and not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "no CUDA GPU is available to PyTorch here",
            where="device: cuda",
            remedy="set device: cpu, or install a CUDA build of torch and a driver ('sdseg doctor' tells more)",
        )
    return torch.device(name)


def peak_memory(device: str) -> dict[str, Any]:
    """The most memory this process has held so far: `bytes`, None where the system does not tell; `of` says what."""
    if device.startswith("cuda"):  # others are no devices of PyTorch's, and compute on the CPU
        return {"bytes": int(torch.cuda.max_memory_allocated()), "of": "GPU memory allocated by PyTorch"}
    try:
        import resource
    except ImportError:  # Windows
        return {"bytes": None, "of": "not measured: this system does not tell"}
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"bytes": peak, "of": "memory of the whole process, libraries and weights included"}
