"""What was found, drawn over the input: the mask, or every hypothesis beside a map of the confidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np

from sdseg.artifacts.image_contract import Structure
from sdseg.core.array_types import AnyArray, MaskArray, RawImages
from sdseg.data.transforms import to_display
from sdseg.inference.native_size import NativeSegmentation
from sdseg.io.pictures import Outline, draw_outlines
from sdseg.io.structure_colours import structure_colour

__all__ = ["draw_hypotheses", "draw_mask", "legend_name"]

Sizes = dict[str, dict[str, Any]]  # structure -> unit, mean, low, high
LONGEST = 4096  # pixels along a side of a picture that is enlarged
GAP = 8  # pixels between two pictures


def draw_mask(native: NativeSegmentation, window: tuple[float, float]) -> RawImages:
    """RGB [H,W,3]: the slice with the largest mask under its outlines."""
    index = _shown(native)
    image = _image(native, index, window)
    line = max(2, min(image.shape[:2]) // 300)
    outlines = _outlines(native.structures, lambda number: _of(native.bits[index], number)[None], line)
    note = f"slice {index + 1} of {len(native.per_slice)}" if native.geometry else ""
    if native.empty:
        note = f"nothing found {note}".strip()
    return draw_outlines(image, outlines, note, _smallest(image))


def draw_hypotheses(native: NativeSegmentation, window: tuple[float, float], sizes: Sizes) -> RawImages:
    """RGB [H,W,3]: the outlines of every hypothesis with their sizes, and beside them the mask over its confidence."""
    if native.confidence is None:
        raise ValueError("the input was segmented without its hypotheses")
    index = _shown(native)
    image = _image(native, index, window)
    several = _outlines(
        native.structures,
        lambda number: np.stack([_of(one.bits[index], number) for one in native.hypotheses]),
        line=1,
        words=lambda name: _size_in_words(sizes[name]),
    )
    where = f", slice {index + 1} of {len(native.per_slice)}" if native.geometry else ""
    left = draw_outlines(image, several, f"{len(native.hypotheses)} hypotheses{where}", _smallest(image))
    # What is as likely as not is dark, what is sure is bright.
    shades = np.rint(np.clip(2.0 * native.confidence[index] - 1.0, 0.0, 1.0) * 255.0).astype(np.uint8)
    coloured = np.ascontiguousarray(cv2.applyColorMap(shades, cv2.COLORMAP_VIRIDIS)[..., ::-1])
    mask = (Outline("mask", (native.bits[index] > 0)[None], (255, 255, 255), 1),)
    right = draw_outlines(coloured, mask, "confidence: 0.5 dark, 1 bright", _smallest(image))
    return _side_by_side(left, right)


def _shown(native: NativeSegmentation) -> int:
    """The slice with the largest mask; where nothing was found, that of the hypotheses, or the middle."""
    if not native.empty:
        return int(native.per_slice.argmax())
    sums = sum((one.per_slice for one in native.hypotheses), np.zeros_like(native.per_slice))
    return int(sums.argmax()) if sums.any() else len(native.per_slice) // 2


def _image(native: NativeSegmentation, index: int, window: tuple[float, float]) -> RawImages:
    if native.pixels_shown is None:
        raise ValueError("the input was opened without its pixels")
    return to_display(native.pixels_shown[index], window)  # [H,W,3]


def _of(bits: AnyArray, number: int) -> MaskArray:
    """Where structure `number` is in one slice [H,W] of bits."""
    return np.asarray((bits >> bits.dtype.type(number)) & bits.dtype.type(1), dtype=np.bool_)


def _outlines(
    structures: Iterable[Structure],
    masks: Callable[[int], MaskArray],
    line: int,
    words: Callable[[str], str] = lambda _: "",
) -> tuple[Outline, ...]:
    """One of each structure, of the `masks` [S,H,W] of its number; `words` follow its name."""
    return tuple(
        Outline(
            f"{legend_name(one.name, number + 1)} {words(one.name)}".rstrip(),
            masks(number),
            structure_colour(number),
            line,
        )
        for number, one in enumerate(structures)
    )


def legend_name(name: str, number: int) -> str:
    """The name of a structure where its letters can be drawn, else its number in the label map."""
    return name if name.isascii() else f"structure {number}"


def _size_in_words(size: dict[str, Any]) -> str:
    return f"{size['mean']:g} {size['unit']} (90 %: {size['low']:g} to {size['high']:g})"


def _smallest(image: RawImages) -> int:
    height, width, _ = image.shape
    factor = max(1, LONGEST // max(height, width))  # a sliver of an image must not become a huge picture
    return int(min(512, factor * min(height, width)))


def _side_by_side(left: RawImages, right: RawImages) -> RawImages:
    """Both from the top, on a dark ground."""
    height = max(left.shape[0], right.shape[0])
    canvas = np.full((height, left.shape[1] + GAP + right.shape[1], 3), 24, dtype=np.uint8)
    canvas[: left.shape[0], : left.shape[1]] = left
    canvas[: right.shape[0], left.shape[1] + GAP :] = right
    return canvas
