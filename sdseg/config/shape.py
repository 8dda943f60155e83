"""The shape of what a model sees: how volumes are cut into slices, and the size that images are brought to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from sdseg.core.bounded_types import shortest, size_within
from sdseg.core.settings import Strict

__all__ = [
    *("LONGEST", "SHORTEST", "USUAL_MULTIPLE", "AutoSize", "DatasetSize"),
    *("Fit", "InPlane", "Plane", "Resampling", "Slicing", "Spacing", "bound_of"),
]

Plane = Literal["axial", "coronal", "sagittal"]  # across the body; front from back; left from right
# coarsest: that across the axis along which the training volumes' voxels lie furthest apart, as prepare finds it.
Slicing = Literal["axial", "coronal", "sagittal", "coarsest"]
SMALLEST, LARGEST = 16, 8192  # pixels of a side
Side = Annotated[int, Field(ge=SMALLEST, le=LARGEST)]
USUAL_MULTIPLE = 32  # what most networks here halve sides by
SHORTEST, LONGEST = 0.01, 100.0  # mm
Millimetres = Annotated[float, Field(ge=SHORTEST, le=LONGEST)]
InPlane = tuple[Millimetres, Millimetres]  # between rows, and between columns
# Of slices that are larger than the working size once they are resampled: crop cuts off what lies beyond, shrink makes
# the whole slice smaller, with its side ratio. Smaller ones are filled up with the window's lowest value.
Fit = Literal["crop", "shrink"]


class AutoSize(Strict):
    """The size is chosen from the training images when they are prepared: data/choose_shape.py."""

    at_most: Side = 512  # of each side
    # Of which sides are multiples. Default: what the recipes of the configuration need; without one 32.
    multiple_of: int | None = Field(None, ge=1, le=4096)


class Resampling(Strict):
    """Slices are resampled to one spacing in their plane before they come to the working size: data/fit.py."""

    spacing: InPlane  # mm
    fit: Fit = "crop"


def _auto(size: Any) -> Any:
    if size == "auto":
        return AutoSize()
    if isinstance(size, dict):
        try:
            return AutoSize.model_validate(size)
        except ValidationError as error:
            problems = (f"'{'.'.join(map(str, each['loc']))}': {each['msg']}" for each in error.errors())
            raise ValueError(f"of an automatic size {'; '.join(problems)}") from None
    return size if isinstance(size, AutoSize) else size_within(SMALLEST, LARGEST, "; or auto")(size)


DatasetSize = Annotated[
    Side | tuple[Side, Side] | AutoSize,
    BeforeValidator(_auto, json_schema_input_type=Side | tuple[Side, Side] | Literal["auto"] | AutoSize),
    AfterValidator(lambda size: size if isinstance(size, AutoSize) else shortest(size)),
]


def _spacing(spacing: Any) -> Any:
    """One message for all that is none, where each form would have one of its own."""
    lengths = list(spacing) if isinstance(spacing, list | tuple) else []
    numbers = [length for length in lengths if isinstance(length, int | float) and SHORTEST <= length <= LONGEST]
    if spacing not in ("none", "median") and not (len(numbers) == len(lengths) == 2):
        raise ValueError(
            f"none, median, or millimetres from {SHORTEST:g} to {LONGEST:g} as [rows, columns] is expected"
        )
    return spacing


Spacing = Annotated[
    Literal["none", "median"] | InPlane,
    BeforeValidator(_spacing, json_schema_input_type=Literal["none", "median"] | InPlane),
]


def bound_of(size: int | tuple[int, int] | AutoSize) -> int | tuple[int, int]:
    """The size, or where it is chosen later the largest that it may be."""
    return size.at_most if isinstance(size, AutoSize) else size
