"""`statistics.csv`: how large each structure is, in how many parts, and how bright the input is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from sdseg.core.files import csv_text
from sdseg.data.postprocessing import count_components
from sdseg.inference.native_size import NativeSegmentation

__all__ = ["COLUMNS", "statistics_lines", "statistics_of"]

COLUMNS = (
    *("input", "series", "mask", "structure", "pixels", "volume_ml", "area_mm2"),
    *("components", "mean_intensity", "intensity_unit"),
)
BY_STRUCTURE = ("millilitres", "area_mm2", "components", "mean_intensity")  # keys of a record
DIGITS = 3


def statistics_of(native: NativeSegmentation, modality: str, channel: str = "") -> dict[str, Any]:
    """Of each structure the connected parts and the mean of the input within it, for the record of an input.

    The mean is None where nothing was found; of an image it is over its three colours, of several channels that of the
    `channel` which is shown. Millimetres² are those of a volume of one slice: images have no known spacing, and of more
    slices the volume is what counts.
    """
    if native.pixels_shown is None:
        raise ValueError("the input was opened without its pixels")
    values = native.pixels_shown if native.raw_values is None else native.raw_values
    components, means = dict[str, int](), dict[str, float | None]()
    for number, one in enumerate(native.structures):
        mask = native.mask(number)
        components[one.name] = count_components(mask)
        inside = values[mask]  # [M,C]
        means[one.name] = round(float(inside.mean(dtype=np.float64)), DIGITS) if inside.size else None
    record: dict[str, Any] = {
        "components": components,
        "mean_intensity": means,
        "intensity_unit": f"{_unit(native, modality)}, {channel}".removesuffix(", "),
    }
    if native.geometry is not None and len(native.per_slice) == 1:
        _, rows, columns = native.spacing
        sizes = zip(native.structures, native.pixels, strict=True)
        record["area_mm2"] = {one.name: round(float(count) * rows * columns, DIGITS) for one, count in sizes}
    return record


def _unit(native: NativeSegmentation, modality: str) -> str:
    if native.geometry is None:
        return "0-255"
    return "HU" if native.file.kind == "series" and modality == "ct" else "file's own"


def statistics_lines(records: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The file line by line: a row for each structure of each input, empty where something is not known."""
    yield csv_text(COLUMNS, [])
    for record in records:
        for structure, pixels in record.get("pixels", {}).items():
            yield csv_text(
                (
                    record["input"],
                    record.get("series"),
                    record["outputs"].get("mask"),
                    structure,
                    pixels,
                    *((record.get(key) or {}).get(structure) for key in BY_STRUCTURE),
                    record.get("intensity_unit"),
                ),
                (),
            )
