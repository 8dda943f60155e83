"""What a user chooses about TensorRT engines: the configuration's section `engines`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sdseg.core.settings import Place, Strict

__all__ = ["Batches", "EngineOptions", "EnginePrecision", "Engines", "Hardware", "Precision"]

Hardware = Literal["this-gpu", "same-compute-capability", "ampere-plus"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
# Not int8: the graph is quantised for CPUs, with unsigned activations and zero points, which TensorRT does not take.
EnginePrecision = Literal["fp32", "fp16", "bf16"]


class Batches(Strict):
    """Sizes of a batch: the smallest and the largest an engine takes, and the one it is tuned for."""

    min: int = Field(1, ge=1, le=65536)
    opt: int = Field(8, ge=1, le=65536)
    max: int = Field(16, ge=1, le=65536)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min <= self.opt <= self.max:
            raise ValueError(f"batches must grow: min {self.min}, opt {self.opt}, max {self.max}")
        return self


class EngineOptions(Strict):
    """How TensorRT builds an engine."""

    batches: Batches = Batches()
    workspace_gb: float | None = Field(None, gt=0, le=10_000)  # scratch memory while building; null: all the GPU has
    level: int = Field(3, ge=0, le=5)  # the builder's effort: 0 builds fastest, 5 may find a faster engine
    hardware: Hardware = "this-gpu"  # where it runs: or on GPUs of its compute capability, or from Ampere on (slower)
    tf32: bool = False  # true: fp32 layers may round to 10 bits of mantissa


class Engines(EngineOptions):
    """TensorRT engines of a run."""

    precisions: tuple[EnginePrecision, ...] = Field(("fp32",), min_length=1)
    missing: Literal["leave-out", "error", "elsewhere"] = "leave-out"  # where this machine has no TensorRT or GPU
    timing_cache: Place | None = None  # file that later builds on the same GPU profit from
