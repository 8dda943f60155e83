"""A volume at one glance: three planes through what was found, or its slices side by side where they lie far apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import AnyArray, MaskArray
from sdseg.data.postprocessing import largest_component
from sdseg.data.slicing import to_slices
from sdseg.data.transforms import to_display
from sdseg.inference.native_size import NativeSegmentation
from sdseg.inference.result_pictures import draw_mask, legend_name
from sdseg.io.geometry import Geometry
from sdseg.io.pictures import Outline, draw_legend, outlined
from sdseg.io.structure_colours import structure_colour

__all__ = ["draw_preview"]

Pixels = npt.NDArray[np.uint8]
SIDE = 384  # pixels of the longer side of a panel
LINE = 2  # pixels of an outline
GAP = 6  # pixels between panels
GROUND = 24  # grey beside panels
NARROWEST = 512  # pixels of a whole picture: its legend needs them
FLAT = 4.0  # slices that lie this many times as far apart as their pixels make no planes of their own
FEW = 8  # slices of which the same holds
SLAB = 6.0  # and of a volume this many times as wide as high
MOST = 12  # slices side by side
COLUMNS = 4


@dataclass(frozen=True)
class _Plane:
    """A cut through a volume, upright, with the distance of its rows and columns."""

    what: str
    values: AnyArray  # [H,W,C] raw
    bits: AnyArray  # [H,W]
    spacing: tuple[float, float]  # millimetres between rows and between columns


def draw_preview(native: NativeSegmentation, window: tuple[float, float]) -> Pixels:
    """RGB [H,W,3]: of a volume planes or slices under their outlines; of an image what `draw_mask` gives.

    Planes are axial, coronal and sagittal, as radiologists see them: the patient's right and front on the left. They
    lie in the centre of the largest part of the largest structure, or of the volume where nothing was found.
    """
    if native.pixels_shown is None:
        raise ValueError("the input was opened without its pixels")
    if native.geometry is None:
        return draw_mask(native, window)
    flat = _is_flat(native)
    planes = _slices(native, native.pixels_shown) if flat else _three(native, native.geometry, native.pixels_shown)
    panels = [_panel(native, plane, window) for plane in planes]
    sheet = _side_by_side(panels, COLUMNS if flat else len(panels))
    outlines = _outlines(native, np.zeros((1, 1), native.bits.dtype))
    note = "; ".join(dict.fromkeys([*(plane.what for plane in planes), *(["nothing found"] if native.empty else [])]))
    return np.concatenate([sheet, draw_legend(sheet.shape[1], outlines, note)])


def _is_flat(native: NativeSegmentation) -> bool:
    """Whether planes across the slices would show next to nothing."""
    between, down, along = native.spacing
    slices, rows, columns = native.bits.shape
    slab = SLAB * slices * between < max(rows * down, columns * along)
    return slices < FEW or between > FLAT * max(along, down) or slab


def _slices(native: NativeSegmentation, values: AnyArray) -> list[_Plane]:
    """Slices, evenly spread over those with a mask, or over all."""
    shown = np.flatnonzero(native.per_slice) if not native.empty else np.arange(len(native.bits))
    chosen = shown[np.unique(np.linspace(0, len(shown) - 1, min(MOST, len(shown))).round().astype(int))]
    _, rows, columns = native.spacing
    numbers = ", ".join(str(index + 1) for index in chosen)
    plane = "" if native.plane == "axial" else f"{native.plane} "
    what = f"{plane}slices {numbers} of {len(native.bits)}"
    return [_Plane(what, values[index], native.bits[index], (rows, columns)) for index in chosen]


def _three(native: NativeSegmentation, geometry: Geometry, values: AnyArray) -> list[_Plane]:
    """Axial, coronal and sagittal plane through the centre."""
    values, bits = (to_slices(native.canonical(each), "axial") for each in (values, native.bits))
    z, row, column = _centre(native)
    counts = bits.shape
    across, deep, up = geometry.spacing
    # The head is up: slices are counted from the feet.
    return [
        _Plane(f"axial {z + 1} of {counts[0]}", values[z], bits[z], (deep, across)),
        _Plane(f"coronal {row + 1} of {counts[1]}", values[::-1, row], bits[::-1, row], (up, across)),
        _Plane(f"sagittal {column + 1} of {counts[2]}", values[::-1, :, column], bits[::-1, :, column], (up, deep)),
    ]


def _centre(native: NativeSegmentation) -> tuple[int, int, int]:
    """Axial slice, row and column in the middle of the largest part of the largest structure: it lies in all planes."""
    if native.empty:
        slices, rows, columns = to_slices(native.canonical(native.bits), "axial").shape
        return slices // 2, rows // 2, columns // 2
    part = largest_component(to_slices(native.canonical(native.mask(int(native.pixels.argmax()))), "axial"))
    z, row, column = (int(np.rint(places.mean())) for places in np.nonzero(part))
    return z, row, column


def _panel(native: NativeSegmentation, plane: _Plane, window: tuple[float, float]) -> Pixels:
    """The plane with square pixels, under its outlines."""
    height, width = plane.bits.shape
    tall, wide = height * plane.spacing[0], width * plane.spacing[1]
    scale = SIDE / max(tall, wide)
    size = max(1, round(wide * scale)), max(1, round(tall * scale))  # columns, rows
    image = to_display(np.ascontiguousarray(plane.values), window)
    larger = size[0] >= width and size[1] >= height
    resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR if larger else cv2.INTER_AREA)
    return outlined(np.asarray(resized, dtype=np.uint8), _outlines(native, plane.bits, size), smallest=1)


def _outlines(native: NativeSegmentation, bits: AnyArray, size: tuple[int, int] | None = None) -> tuple[Outline, ...]:
    """One of each structure in a plane [H,W] of bits, at `size` (columns, rows)."""
    return tuple(
        Outline(legend_name(one.name, number + 1), _resized(bits, number, size)[None], structure_colour(number), LINE)
        for number, one in enumerate(native.structures)
    )


def _resized(bits: AnyArray, number: int, size: tuple[int, int] | None) -> MaskArray:
    mask = np.ascontiguousarray((bits >> bits.dtype.type(number)) & bits.dtype.type(1), dtype=np.uint8)
    if size is not None:
        mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8)
    return np.asarray(mask, dtype=np.bool_)


def _side_by_side(panels: Sequence[Pixels], columns: int) -> Pixels:
    """In rows, each in the middle of its place, on a dark ground."""
    height, width = (max(panel.shape[axis] for panel in panels) + GAP for axis in (0, 1))
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    sheet = np.full((rows * height, max(columns * width, NARROWEST), 3), GROUND, dtype=np.uint8)
    for place, panel in enumerate(panels):
        top = place // columns * height + (height - panel.shape[0]) // 2
        left = place % columns * width + (width - panel.shape[1]) // 2
        sheet[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
    return sheet
