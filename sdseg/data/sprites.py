"""A volume as one picture and outlines, small enough to be scrolled in a page: its slices side by side, lossy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import AnyArray, MaskArray
from sdseg.core.errors import UserError

__all__ = ["Sprite", "outline_paths", "pack_slices"]

Pixels = npt.NDArray[np.uint8]
MOST_BYTES = 700_000
LONGEST = 16383  # pixels of a side of a WebP picture
QUALITIES = (80, 60, 40, 20)
FACTORS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Sprite:
    """Slices in rows of `columns`, from the first at the upper left, each `tile` × `tile` pixels."""

    webp: bytes
    columns: int
    tile: int


def pack_slices(slices: Pixels, most_bytes: int = MOST_BYTES) -> Sprite:
    """RGB or grey [Z,H,W,3] as one WebP picture; coarser, then smaller by whole factors, until it has `most_bytes`."""
    columns = math.ceil(math.sqrt(len(slices)))
    for factor in FACTORS:
        tile = slices.shape[1] // factor
        if 0 < columns * tile <= LONGEST:
            sheet = _sheet(slices, columns, tile)
            for quality in QUALITIES:
                written, encoded = cv2.imencode(".webp", sheet[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])
                if written and len(encoded) <= most_bytes:
                    return Sprite(encoded.tobytes(), columns, tile)
    raise UserError(f"{len(slices)} slices do not fit into {most_bytes} bytes", remedy="score fewer slices at a time")


def outline_paths(masks: MaskArray) -> str:
    """Outlines of masks [K,H,W] as one SVG path through pixels; to be drawn half a pixel further right and down."""
    parts = []
    for mask in masks:
        found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        parts += [_path(contour[:, 0]) for contour in found]
    return "".join(parts)


def _path(points: AnyArray) -> str:
    """Closed, in steps from point to point."""
    steps = np.diff(points, axis=0)
    words = " ".join(f"{x} {y}" for x, y in steps) or "0 0"  # a single pixel: a line of no length, drawn as a dot
    return f"M{points[0][0]} {points[0][1]}l{words}z"


def _sheet(slices: Pixels, columns: int, tile: int) -> Pixels:
    sheet = np.zeros((math.ceil(len(slices) / columns) * tile, columns * tile, 3), dtype=np.uint8)
    for index, one in enumerate(slices):
        top, left = index // columns * tile, index % columns * tile
        shown = one if tile == one.shape[0] else cv2.resize(one, (tile, tile), interpolation=cv2.INTER_AREA)
        sheet[top : top + tile, left : left + tile] = shown
    return sheet
