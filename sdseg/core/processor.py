"""What the processor of this machine can do."""

from __future__ import annotations

from pathlib import Path

__all__ = ["computes_in_bf16"]


def computes_in_bf16() -> bool:
    """Whether it multiplies in bf16 faster than in single precision. False where the system does not tell."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return any(f" {flag}" in flags for flag in ("avx512_bf16", "amx_bf16"))
