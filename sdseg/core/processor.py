"""What the processor of this machine can do."""

from __future__ import annotations

from pathlib import Path

__all__ = ["bf16_instructions", "computes_in_bf16"]

INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}  # flag of Linux -> name, the fastest first


def computes_in_bf16() -> bool:
    """Whether it multiplies in bf16 faster than in single precision. False where the system does not tell."""
    return bf16_instructions() is not None


def bf16_instructions() -> str | None:
    """The fastest instructions that multiply in bf16. None where it has none, or the system does not tell."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    return next((name for flag, name in INSTRUCTIONS.items() if f" {flag}" in flags), None)
