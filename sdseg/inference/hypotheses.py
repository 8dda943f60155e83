"""Several hypotheses of one input: how many a model gives, and what is said of them in predict.json."""

from __future__ import annotations

from typing import Any

import numpy as np

from sdseg.backends.base import samples_of, why_mean_alone
from sdseg.backends.open_model import Served
from sdseg.core.errors import UserError
from sdseg.inference.native_size import NativeSegmentation

__all__ = ["hypotheses_given", "record_of", "spread_of_sizes"]

INTERVAL = (5.0, 95.0)  # percentiles, between which 90 % of the hypotheses lie


def hypotheses_given(served: Served) -> int:
    """How many hypotheses S the model gives of an image. Raises UserError where it has one answer alone."""
    count = samples_of(served.backend)
    if count == 0:
        raise UserError(
            why_mean_alone(served.backend),
            where=served.path,
            remedy="name model folders that draw as many, or ONNX graphs of them exported with 'hypotheses: true'",
        )
    if count == 1:
        raise UserError(
            f"'{served.recipe}' has one answer to an image, and no hypotheses",
            where="--hypotheses",
            remedy="leave it out, or train a recipe with 'inference_noise: gaussian' and 'inference.samples' above 1",
        )
    return count


def record_of(native: NativeSegmentation) -> list[dict[str, Any]]:
    """Of each hypothesis the pixels of every structure and, of a volume, their millilitres."""
    records, voxel = [], native.millilitres_per_voxel
    for one in native.hypotheses:
        pixels = {each.name: int(count) for each, count in zip(native.structures, one.pixels, strict=True)}
        record: dict[str, Any] = {"pixels": pixels}
        if voxel is not None:
            record["millilitres"] = {name: round(count * voxel, 3) for name, count in pixels.items()}
        records.append(record)
    return records


def spread_of_sizes(native: NativeSegmentation) -> dict[str, dict[str, Any]]:
    """Of every structure the mean of its size over the hypotheses, and the interval that holds 90 % of them.

    Millilitres of a volume, pixels of an image, whose pixels have no known size. Percentiles are interpolated.
    """
    voxel = native.millilitres_per_voxel
    sizes = np.stack([one.pixels for one in native.hypotheses]) * (1.0 if voxel is None else voxel)  # [S,K]
    low, high = np.percentile(sizes, INTERVAL, axis=0)
    unit, digits = ("pixels", 1) if voxel is None else ("ml", 3)
    return {
        one.name: {
            "unit": unit,
            "mean": round(float(sizes[:, index].mean()), digits),
            "low": round(float(low[index]), digits),
            "high": round(float(high[index]), digits),
        }
        for index, one in enumerate(native.structures)
    }
