"""Which number type keeps the values of images and volumes as they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sdseg.artifacts.image_contract import StoredType
from sdseg.core.array_types import AnyArray

__all__ = ["Values", "alterations", "as_type", "kept_type", "values_of"]


HALF = 65504.0  # largest float16


FINE = 2048.0  # float16 is used where it splits the window into at least so many steps


@dataclass(frozen=True)
class Values:
    """What a number type must hold of some volumes."""

    low: float
    high: float
    whole: bool  # no fractions


def values_of(raw: AnyArray) -> Values:
    """Of an array of finite numbers."""
    low, high = float(raw.min(initial=0)), float(raw.max(initial=0))
    return Values(low, high, raw.dtype.kind != "f" or bool(np.array_equal(raw, np.rint(raw))))


def kept_type(values: Iterable[Values], window: tuple[float, float]) -> StoredType:
    """The smallest type that keeps the values of all volumes.

    Whole numbers: int16, uint16 or int32. Others: float16 where all fit its range and its steps within the window are
    fine enough, else float32; that is also for whole numbers beyond 32 bits.
    """
    ranges = list(values)
    low, high = min(each.low for each in ranges), max(each.high for each in ranges)
    if all(each.whole for each in ranges):
        integer_types: tuple[StoredType, ...] = ("int16", "uint16", "int32")
        return next(
            (name for name in integer_types if np.iinfo(name).min <= low and high <= np.iinfo(name).max), "float32"
        )
    largest = max(abs(window[0]), abs(window[1]))
    step = float(np.spacing(np.nextafter(np.float16(min(largest, HALF)), np.float16(0))))
    return "float16" if max(-low, high) <= HALF and step * FINE <= 2 * (window[1] - window[0]) else "float32"


def as_type(raw: AnyArray, dtype: StoredType) -> AnyArray:
    """The values as a store of this type holds them before they are resized: rounded and clipped where it must be.

    float16 is a type to keep, not to compute with: its values come as float32.
    """
    target = np.dtype("float32" if dtype == "float16" else dtype)
    if raw.dtype == target:
        return raw
    if target.kind == "f":
        return raw.astype(target)
    limits = np.iinfo(target)
    return np.clip(np.rint(raw) if raw.dtype.kind == "f" else raw, limits.min, limits.max).astype(target)


def alterations(values: Values, dtype: StoredType) -> list[str]:
    """What `as_type` does to such values, in words."""
    if np.dtype(dtype).kind == "f":
        return []
    limits, changes = np.iinfo(dtype), []
    if not values.whole:
        changes.append("values with fractions are rounded to whole numbers")
    if values.low < limits.min or values.high > limits.max:
        bounds = f"{limits.min} to {limits.max}"
        changes.append(f"values from {values.low:g} to {values.high:g} are clipped to {bounds}")
    return changes
