"""Which GPU a process computes on, where a machine has several."""

from __future__ import annotations

import os
import re

from sdseg.core.errors import UserError

__all__ = ["CHOSEN", "GPU", "choose_gpu"]

GPU = r"cuda(:\d{1,3})?"  # how a GPU is named
VISIBLE, CHOSEN = "CUDA_VISIBLE_DEVICES", "SDSEG_GPU"


def choose_gpu(device: str) -> str:
    """`cuda` for `cuda:1`, this process and those it starts seeing that GPU alone; any other name as it is.

    To be called before CUDA is begun with. Numbers are those of nvidia-smi, or places in CUDA_VISIBLE_DEVICES where
    that is set. Raises UserError for a place that is not in it; empty it shows none.
    """
    if ":" not in device or not re.fullmatch(GPU, device):
        return device
    if os.environ.get(CHOSEN) == device:  # by whoever started this process
        return "cuda"
    number, shown = int(device.partition(":")[2]), os.environ.get(VISIBLE)
    if shown is not None and not shown.strip():
        raise UserError(
            f"{VISIBLE} is set and empty, which hides every GPU",
            where=f"device: {device}",
            remedy=f"unset {VISIBLE}, let it name GPUs, or compute on 'cpu'",
        )
    if shown is not None:
        names = [name.strip() for name in shown.split(",")]
        if number >= len(names):
            raise UserError(
                f"{VISIBLE} shows {len(names)} GPU(s) ({shown}), counted from 0, and {device} is none of them",
                where=f"device: {device}",
                remedy="name one of them, or 'cuda' for the first",
            )
        os.environ[VISIBLE] = names[number]
    else:
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # as nvidia-smi counts
        os.environ[VISIBLE] = str(number)
    os.environ[CHOSEN] = device
    return "cuda"
