"""The shape of what is trained on, fitted to the data: size, tiles of large images, one spacing of volumes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from sdseg.cli.own_data import OwnData
from sdseg.config.tiles import Tiles
from sdseg.data.slicing import along_slices
from sdseg.data.tile_grid import TileGrid
from sdseg.sizing.presets import Preset

__all__ = ["FittedShape", "Reasoned", "fit_shape"]

SMALL = 12  # pixels of the smallest structure below which a larger size is taken
OBLONG = 1.25  # longer against shorter side from which a square would squeeze them
LARGER = 1.5  # and how much larger at most
NARROW, WANTED = 2.0, 6.0  # pixels across the narrowest structure: fewer ask for tiles, which show it at so many
SEVERAL = 2  # tiles along the longer side that an image has at least, where it is seen in tiles
OVERLAP = 0.25  # of tiles; nnU-Net's half takes twice the time
UNLIKE = 1.3  # times: fields of view that differ by more show one structure at other sizes
WIDEST = 1.5  # times the median: wider fields of view are shrunk, and do not make all others small


@dataclass(frozen=True)
class Reasoned:
    """A value and why it is this."""

    value: Any
    reason: str


@dataclass(frozen=True)
class FittedShape:
    """What the dataset's entry says of shape. `size` is that of a tile where there are `tiles`."""

    size: Reasoned
    tiles: Reasoned | None  # images larger than the size are not squeezed into it
    spacing: Reasoned | None  # millimetres between pixels that slices are resampled to
    rows: int  # slices, images or tiles of all cases

    @property
    def unit(self) -> str:
        """What a row is, in words for images; of volumes it is a slice."""
        return "tiles" if self.tiles is not None else "images"


def fit_shape(data: OwnData, preset: Preset) -> FittedShape:
    """The preset's size, or what suits the data better, each with its reason."""
    tiles = None if data.volumes else _tiles(data, preset)
    if tiles is not None:
        scale, reason = tiles
        size = Reasoned(preset.size, "of a tile, that of the preset")
        value = {"overlap": OVERLAP, **({"scale": scale} if scale < 1 else {})}
        grids = [
            TileGrid(*Tiles(scale=scale).scaled(view.height, view.width), (preset.size, preset.size))
            for view in data.survey.views
        ]
        count = mean(len(grid) for grid in grids)
        reason += f"; about {count:.0f} tiles an image"
        return FittedShape(size, Reasoned(value, reason), None, round(count * data.survey.cases))
    size = _size(data, preset)
    return FittedShape(size, None, _spacing(data, size) if data.volumes else None, data.survey.slices)


def _tiles(data: OwnData, preset: Preset) -> tuple[float, str] | None:
    """The scale at which large images are seen in tiles, and why; None where the preset's size shows enough."""
    breadths = data.breadths()
    longest = max(data.survey.span("height")[1], data.survey.span("width")[1])
    if not breadths:
        return None
    name, across = min(breadths.items(), key=lambda item: item[1])
    seen = across * preset.size / longest
    scale = min(1.0, _rounded_up(WANTED / across, 0.05 if WANTED / across > 0.1 else 0.01))
    if seen >= NARROW or longest * scale < SEVERAL * preset.size:
        return None
    at = "of their own pixels" if scale == 1 else f"at {scale:g} of their size, where it is {across * scale:.0f}"
    return scale, (
        f"'{name}' is about {across:.0f} pixels across, and {seen:.1f} where images of {longest:g} are squeezed into "
        f"{preset.size}: they are seen in overlapping tiles {at} (docs/data.md)"
    )


def _size(data: OwnData, preset: Preset) -> Reasoned:
    """The preset's, a larger one for small structures, and none beyond that of the files."""
    step = preset.multiple
    height, width = data.survey.span("height")[1], data.survey.span("width")[1]
    longest = round(max(height, width))
    native = max(2 * step, -(-longest // step) * step)
    what = "slices" if data.volumes else "images"
    size, reason = preset.size, f"that of the preset; most of your {what} are {height:.0f}×{width:.0f}, rows × columns"
    areas = data.areas()
    if areas:
        name, share = min(areas.items(), key=lambda item: item[1])
        while share * size**2 < SMALL and size + step <= LARGER * preset.size:
            size += step
        pixels = share * size**2
        if size > preset.size:
            reason = f"larger than the preset's {preset.size}, since '{name}' is small"
        if pixels < 2 * SMALL:
            reason += f"; '{name}' then has about {pixels:.0f} pixels, and a larger size costs its square in time"
    if size > native:
        size, reason = native, f"your files have no more ({longest} pixels along the longer side)"
    if max(height, width) < OBLONG * min(height, width):
        return Reasoned(size, reason)
    sides = [max(2 * step, round(size * math.sqrt(ratio) / step) * step) for ratio in (height / width, width / height)]
    return Reasoned(sides, f"rows and columns in the ratio of yours, and about as many as {size}×{size}; {reason}")


def _spacing(data: OwnData, size: Reasoned) -> Reasoned | None:
    """One spacing for all, where a pixel of the working size would be much longer in some cases than in others."""
    views, plane = data.survey.views, data.survey.plane
    fields = [
        (view.height * rows, view.width * columns)
        for view in views
        for _, rows, columns in [along_slices(view.spacing, plane)]
    ]
    along = list(zip(*fields, strict=True))  # of all cases, along rows and along columns
    if max(max(lengths) / min(lengths) for lengths in along) <= UNLIKE:
        return None
    sides = (size.value, size.value) if isinstance(size.value, int) else size.value
    spacing = max(
        min(max(lengths), WIDEST * median(lengths)) / side for lengths, side in zip(along, sides, strict=True)
    )
    value = _rounded_up(spacing, 10.0 ** (math.floor(math.log10(spacing)) - 2))  # three digits
    (low, high), own = _ends(fields), [along_slices(view.spacing, plane)[1] for view in views]
    return Reasoned(
        [value, value],
        f"slices show {low[0]:.0f}×{low[1]:.0f} to {high[0]:.0f}×{high[1]:.0f} mm (pixels of {min(own):.3g} to "
        f"{max(own):.3g} mm): resampled to one spacing a structure has one size; this one, in mm, brings nearly all "
        "into `size`, and larger ones are shrunk",
    )


def _ends(fields: list[tuple[float, float]]) -> tuple[tuple[float, float], tuple[float, float]]:
    """The smallest and the largest field of view."""
    ordered = sorted(fields, key=lambda field: field[0] * field[1])
    return ordered[0], ordered[-1]


def _rounded_up(number: float, step: float) -> float:
    """To the next larger multiple; what floating point alone makes larger counts for nothing."""
    return round(math.ceil(round(number / step, 3)) * step, 6)
