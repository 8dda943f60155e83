"""What a user chooses about graphs and engines: the configuration's sections `export` and `engines`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, model_validator

from sdseg.core.settings import MANY, Place, Strict, parse, read_yaml

__all__ = [
    "Batches",
    "EngineOptions",
    "EnginePrecision",
    "Engines",
    "Export",
    "Hardware",
    "Precision",
    "Tolerance",
    "Tolerances",
    "load_engines",
    "load_export",
]

Hardware = Literal["this-gpu", "same-compute-capability", "ampere-plus"]
Precision = Literal["fp32", "fp16", "bf16", "int8", "int8_mixed", "int8_weights"]
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


Provider = Literal["cpu", "cuda", "openvino", "openvino-bf16"]


class Tolerance(Strict):
    """How far an export of one precision may lie from the model."""

    max_abs_difference: float = Field(gt=0, le=1)  # of the probability of any pixel
    max_mean_difference: float = Field(gt=0, le=1)  # of the probability, averaged over all pixels
    max_dice_difference: float = Field(gt=0, le=1)  # of the mean Dice against the labels
    min_mask_dice: float = Field(ge=0, le=1)  # mean Dice between the model's masks and the export's


class Tolerances(Strict):
    """Those of the precisions below fp32. A mask's edge may move by a pixel, where the probability jumps."""

    fp16: Tolerance = Tolerance(
        max_abs_difference=0.1, max_mean_difference=1e-3, max_dice_difference=2e-3, min_mask_dice=0.995
    )
    bf16: Tolerance = Tolerance(
        max_abs_difference=0.5, max_mean_difference=5e-3, max_dice_difference=5e-3, min_mask_dice=0.99
    )
    int8: Tolerance = Tolerance(
        max_abs_difference=0.8, max_mean_difference=0.01, max_dice_difference=0.01, min_mask_dice=0.98
    )
    # int8 but for the blocks that cost the masks most: as many stay in fp32 as this Dice takes.
    int8_mixed: Tolerance = Tolerance(
        max_abs_difference=0.8, max_mean_difference=5e-3, max_dice_difference=5e-3, min_mask_dice=0.995
    )
    int8_weights: Tolerance = Tolerance(
        max_abs_difference=0.5, max_mean_difference=5e-3, max_dice_difference=5e-3, min_mask_dice=0.99
    )


class Export(Strict):
    """The ONNX graphs and the tolerances they must keep."""

    opset: int = Field(21, ge=18, le=25)
    precisions: tuple[Precision, ...] = Field(("fp32",), min_length=1)  # fp32 is always made: the others follow it
    providers: tuple[Provider, ...] = Field(("cpu",), min_length=1)  # who computes graphs: each is checked on each
    unchecked: Literal["refuse", "keep"] = "refuse"  # a graph that none of these providers can run
    # true: of recipes that start from noise the hypotheses themselves, too, as an output; a number: as many in place of
    # the recipe's inference.samples. Others have none.
    hypotheses: StrictBool | Annotated[int, Field(ge=2, le=1000)] = Field(
        False, exclude_if=lambda asked_for: not asked_for
    )
    parity_cases: int | None = Field(None, ge=1, le=MANY)  # at most this many test cases; null for all
    calibration_images: int = Field(64, ge=1, le=MANY)  # training images whose values set the ranges of int8
    max_abs_difference: float = Field(1e-3, gt=0, le=1)  # of the probability, fp32
    max_dice_difference: float = Field(2e-3, gt=0, le=1)
    min_mask_dice: float = Field(0.99, ge=0, le=1)  # between the masks of model and graph, fp32
    tolerances: Tolerances = Tolerances()  # of the other precisions

    def tolerance(self, precision: Precision) -> Tolerance:
        """What a graph or an engine of this precision must keep."""
        if precision == "fp32":
            largest = self.max_abs_difference
            return Tolerance(
                max_abs_difference=largest,
                max_mean_difference=largest,
                max_dice_difference=self.max_dice_difference,
                min_mask_dice=self.min_mask_dice,
            )
        tolerance: Tolerance = getattr(self.tolerances, precision)
        return tolerance


def load_export(path: Path) -> Export:
    """Read a file that holds a value of `export`. Raises UserError that lists every wrong key."""
    return parse(Export, read_yaml(path), where=str(path))


def load_engines(path: Path) -> Engines:
    """Read a file that holds a value of `engines`. Raises UserError that lists every wrong key."""
    return parse(Engines, read_yaml(path), where=str(path))
