"""What the processor of this machine can do."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["adds_up_bytes", "bf16_instructions", "computes_in_bf16"]

X86 = ("x86_64", "amd64", "i386", "i686")
INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}  # flag of Linux -> name, the fastest first


def computes_in_bf16() -> bool:
    """Whether it multiplies in bf16 faster than in single precision. False where the system does not tell."""
    return bf16_instructions() is not None


def bf16_instructions() -> str | None:
    """The fastest instructions that multiply in bf16. None where it has none, or the system does not tell."""
    flags = _flags()
    return next((name for flag, name in INSTRUCTIONS.items() if f" {flag}" in flags), None)


def adds_up_bytes() -> bool:
    """Whether what runtimes multiply bytes by keeps large sums of them. False where the system does not tell.

    x86 without VNNI adds two products of bytes in 16 bits, where the largest do not fit: such a sum becomes 32767, and
    a layer in 8-bit integers loses up to half of its value (*Nuances of int8 computations* in oneDNN's guide), unless
    its weights were made for it (export/weight_steps.py).
    """
    return platform.machine().lower() not in X86 or "vnni" in _flags()


def _flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
