"""Several hypotheses of one input: how many a model gives, and what is said of them in predict.json."""

from __future__ import annotations

from typing import Any

from sdseg.backends.base import samples_of, why_mean_alone
from sdseg.backends.open_model import Served
from sdseg.core.errors import UserError
from sdseg.inference.native_size import NativeSegmentation

__all__ = ["hypotheses_given", "hypothesis_kinds", "record_of"]


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


def hypothesis_kinds(count: int) -> tuple[str, ...]:
    """The kinds of results that the hypotheses are: hypothesis1, hypothesis2, …"""
    return tuple(f"hypothesis{number}" for number in range(1, count + 1))


def record_of(native: NativeSegmentation, voxel: float | None) -> list[dict[str, Any]]:
    """Of each hypothesis the pixels of every structure and, with the millilitres of a `voxel`, their volume."""
    records = []
    for one in native.hypotheses:
        pixels = {each.name: int(count) for each, count in zip(native.structures, one.pixels, strict=True)}
        record: dict[str, Any] = {"pixels": pixels}
        if voxel is not None:
            record["millilitres"] = {name: round(count * voxel, 3) for name, count in pixels.items()}
        records.append(record)
    return records
