"""The argument `--device`: where a verb computes."""

from __future__ import annotations

import argparse
import re
from argparse import ArgumentTypeError
from collections.abc import Sequence

from sdseg.core.gpu_choice import GPU

__all__ = ["add_device"]


def add_device(
    to: argparse.ArgumentParser, help: str, *, more: Sequence[str] = (), default: str | None = "cpu"
) -> None:
    """cpu, cuda, cuda:N for the GPU of that number, or one of `more`."""
    names = ("cpu", "cuda", "cuda:N", *more)

    def read(text: str) -> str:
        if text not in names[:1] + names[3:] and not re.fullmatch(GPU, text):
            shown = text if len(text) <= 40 else f"{text[:39]}…"
            raise ArgumentTypeError(f"'{shown}' is none of {', '.join(names)}")
        return text

    to.add_argument("--device", type=read, metavar="|".join(names), default=default, help=help)
