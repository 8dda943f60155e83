"""The compute device a user asked for, or an error: never another one; and the memory that was taken there."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch

from sdseg.core.errors import UserError
from sdseg.core.gpu_choice import CHOSEN

__all__ = ["peak_memory", "torch_device"]


def torch_device(name: str) -> torch.device:
    """`cpu`, `cuda`, or `cuda:1`. Raises UserError when CUDA is asked for and not there."""
    gpus = torch.cuda.device_count() if name.startswith("cuda") and torch.cuda.is_available() else 0
    if name.startswith("cuda") and int(name.partition(":")[2] or 0) >= gpus:
        available = f"{gpus} CUDA GPU(s), counted from 0, are" if gpus else "no CUDA GPU is"
        chosen = os.environ.get(CHOSEN)
        raise UserError(
            f"{available} available to PyTorch here" + (f" as {chosen}" if chosen else ""),
            where=f"device: {chosen or name}",
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
