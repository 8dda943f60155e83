"""Pictures of a slice with the outlines of its masks, large enough to be looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import AnyArray, MaskArray
from sdseg.core.bounded_types import shortest
from sdseg.core.errors import UserError
from sdseg.io.structure_colours import Colour

__all__ = [
    "LABEL_COLOUR",
    "PREDICTION_COLOUR",
    "Outline",
    "Sprite",
    "draw_legend",
    "draw_outlines",
    "enlarge",
    "outline_paths",
    "outlined",
    "pack_slices",
]

Pixels = npt.NDArray[np.uint8]
# Apart for every kind of colour vision, and neither found in tissue.
LABEL_COLOUR: Colour = (0, 200, 255)
PREDICTION_COLOUR: Colour = (255, 225, 0)
HALO: Colour = (0, 0, 0)
STRIP = 30  # height of a line of the legend, pixels
MARGIN = 10
FONT, SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45


@dataclass(frozen=True)
class Outline:
    """Masks [K,H,W] drawn in one colour; a wide line stays visible below a thin one that coincides with it."""

    name: str
    masks: MaskArray
    colour: Colour
    width: int = 1


def enlarge(image: Pixels, smallest: int = 512) -> Pixels:
    """RGB [H,W,3] enlarged by a whole factor until its shorter side has about `smallest` pixels; never shrunk."""
    factor = _factor(image, smallest)
    if factor == 1:
        return image.copy()
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def draw_outlines(image: Pixels, outlines: tuple[Outline, ...], note: str = "", smallest: int = 512) -> Pixels:
    """RGB [H,W,3] enlarged, with every outline in its colour and a legend below that ends with `note` (ASCII)."""
    canvas = outlined(image, outlines, smallest)
    return np.concatenate([canvas, draw_legend(canvas.shape[1], outlines, note)])


def outlined(image: Pixels, outlines: tuple[Outline, ...], smallest: int = 512) -> Pixels:
    """RGB [H,W,3] enlarged, with every outline in its colour."""
    factor = _factor(image, smallest)
    canvas = enlarge(image, smallest)
    contours = [(outline, _contours(mask, factor)) for outline in outlines for mask in outline.masks]
    for outline, lines in contours:  # every halo first: none may cover another outline
        cv2.drawContours(canvas, lines, -1, HALO, outline.width + 2)
    for outline, lines in contours:
        cv2.drawContours(canvas, lines, -1, outline.colour, outline.width, cv2.LINE_AA)
    return canvas


def _contours(mask: npt.NDArray[np.bool_], factor: int) -> Sequence[AnyArray]:
    large = np.repeat(np.repeat(mask.astype(np.uint8), factor, axis=0), factor, axis=1)
    lines, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return tuple(lines)


def draw_legend(width: int, outlines: tuple[Outline, ...], note: str) -> Pixels:
    """A strip with one entry per outline and the note, in as many lines as they need."""
    entries = [(outline.name, outline) for outline in outlines] + ([(note, None)] if note else [])
    strips = [np.full((STRIP, width, 3), 24, dtype=np.uint8)]
    x = MARGIN
    for text, outline in entries:
        (length, _), _ = cv2.getTextSize(text, FONT, SCALE, 1)
        start = x + (30 if outline else 0)
        if start + length > width - MARGIN and x > MARGIN:
            strips.append(np.full((STRIP, width, 3), 24, dtype=np.uint8))
            start = start - x + MARGIN
        if outline:
            cv2.line(strips[-1], (start - 30, STRIP // 2), (start - 8, STRIP // 2), outline.colour, outline.width + 1)
        cv2.putText(strips[-1], text, (start, STRIP // 2 + 5), FONT, SCALE, (235, 235, 235), 1, cv2.LINE_AA)
        x = start + int(length) + 22
    return np.concatenate(strips)


def _factor(image: Pixels, smallest: int) -> int:
    height, width, _ = image.shape
    return int(max(1, -(-smallest // min(height, width))))


MOST_BYTES = 700_000


LONGEST = 16383  # pixels of a side of a WebP picture


QUALITIES = (80, 60, 40, 20)


FACTORS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Sprite:
    """Slices in rows of `columns`, from the first at the upper left, each of `tile` pixels (one number of a square)."""

    webp: bytes
    columns: int
    tile: int | tuple[int, int]


def pack_slices(slices: Pixels, most_bytes: int = MOST_BYTES) -> Sprite:
    """RGB or grey [Z,H,W,3] as one WebP picture; coarser, then smaller by whole factors, until it has `most_bytes`."""
    columns = math.ceil(math.sqrt(len(slices)))
    for factor in FACTORS:
        tile = slices.shape[1] // factor, slices.shape[2] // factor
        if min(tile) > 0 and columns * max(tile) <= LONGEST:
            sheet = _sheet(slices, columns, tile)
            for quality in QUALITIES:
                succeeded, encoded = cv2.imencode(".webp", sheet[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])
                if succeeded and len(encoded) <= most_bytes:
                    return Sprite(encoded.tobytes(), columns, shortest(tile))
    raise UserError(f"{len(slices)} slices do not fit into {most_bytes} bytes", remedy="score fewer slices at a time")


def outline_paths(masks: MaskArray) -> str:
    """Outlines of masks [K,H,W] as one SVG path through pixels; to be drawn half a pixel further right and down."""
    parts = []
    for mask in masks:
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        parts += [_path(contour[:, 0]) for contour in contours]
    return "".join(parts)


def _path(points: AnyArray) -> str:
    """Closed, in steps from point to point."""
    steps = np.diff(points, axis=0)
    words = " ".join(f"{x} {y}" for x, y in steps) or "0 0"  # a single pixel: a line of no length, drawn as a dot
    return f"M{points[0][0]} {points[0][1]}l{words}z"


def _sheet(slices: Pixels, columns: int, tile: tuple[int, int]) -> Pixels:
    height, width = tile
    sheet = np.zeros((math.ceil(len(slices) / columns) * height, columns * width, 3), dtype=np.uint8)
    for index, one in enumerate(slices):
        top, left = index // columns * height, index % columns * width
        smaller = one if tile == one.shape[:2] else cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA)
        sheet[top : top + height, left : left + width] = smaller
    return sheet
