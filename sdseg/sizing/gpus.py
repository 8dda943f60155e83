"""GPUs by name, and how long a training takes on them by their operations per second."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GPUS", "Gpu"]

# What trainings of convolutional networks reach of a peak. An assumption: nothing was measured on a GPU
# (docs/benchmarks.md), and within a factor of two is what may be expected of it.
SHARE_SINGLE, SHARE_HALF = 0.4, 0.2
SHORTEST_STEP = 0.03  # seconds: a step starts some thousands of kernels, however small the network


@dataclass(frozen=True)
class Gpu:
    """Peaks in 10¹² operations per second, dense, by the maker's data sheets."""

    name: str
    memory: int  # GB
    single: float  # fp32, without TF32
    half: float  # fp16 on tensor cores
    bf16: bool = True  # computes in bf16 as fast

    def hours(self, flops: float, steps: int, precision: str) -> float:
        """Of a training with so many operations in all."""
        return max(flops / self.rate(precision), SHORTEST_STEP * steps) / 3600

    def rate(self, precision: str) -> float:
        """Operations per second that are expected, with `precision` of the recipe: no, bf16, fp16 or auto."""
        if precision == "fp16" or (precision in ("bf16", "auto") and self.bf16):
            return SHARE_HALF * self.half * 1e12
        return SHARE_SINGLE * self.single * 1e12


GPUS = (
    Gpu("T4", 16, 8.1, 65, bf16=False),
    Gpu("V100", 32, 15.7, 125, bf16=False),
    Gpu("RTX 4090", 24, 82.6, 165),
    Gpu("A100", 80, 19.5, 312),
    Gpu("H100", 80, 67, 989),
)
