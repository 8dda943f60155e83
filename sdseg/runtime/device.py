"""The compute device a user asked for, or an error: never another one."""

from __future__ import annotations

import torch

from sdseg.errors import UserError

__all__ = ["torch_device"]


def torch_device(name: str) -> torch.device:
    """`cpu` or `cuda`. Raises UserError when CUDA is asked for and not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "no CUDA GPU is available to PyTorch here",
            where="device: cuda",
            remedy="set device: cpu, or install a CUDA build of torch and a driver ('sdseg doctor' tells more)",
        )
    return torch.device(name)
