"""The files of a case's channels: each read by itself, on one grid, stacked in the order of the model's channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sdseg.core.array_types import AnyArray, RawImages
from sdseg.core.errors import UserError
from sdseg.io.geometry import Geometry, check_same_grid
from sdseg.io.images import read_image_noted
from sdseg.io.limits import Limits

__all__ = ["check_grids", "check_sizes", "read_grey_channels"]

Named = tuple[str, Path]  # of a channel
RESAMPLE = "resample one onto the grid of the other (of label maps by nearest neighbour), or leave the case out"


def check_grids(grids: Sequence[tuple[Named, Geometry]]) -> None:
    """Raise UserError for the first channel whose voxels lie elsewhere than those of the first one; names both."""
    (first, path), own = grids[0]
    for (name, other), geometry in grids[1:]:
        difference = check_same_grid(own, geometry, (f"channel {first}", f"channel {name}"))
        if difference:
            raise UserError(f"{difference} ({path} and {other.name})", where=other, remedy=RESAMPLE)


def check_sizes(sizes: Sequence[tuple[Named, tuple[int, ...]]]) -> None:
    """Raise UserError for the first channel of other rows and columns than the first one; names both."""
    (first, path), own = sizes[0]
    for (name, other), size in sizes[1:]:
        if size != own:
            raise UserError(
                f"channel {first} is {own[1]}×{own[0]} pixels ({path}), channel {name} {size[1]}×{size[0]} "
                f"({other.name})",
                where=other,
                remedy="give channels of one size, pixel by pixel of the same place",
            )


def read_grey_channels(channels: Sequence[Named], limits: Limits) -> tuple[RawImages, tuple[str, ...]]:
    """Grey images as the channels of one, [H,W,C] uint8, and what is odd about their files.

    Raises UserError for a file in colour, and for channels of different size, with both named.
    """
    planes, notes = list[AnyArray](), list[str]()
    for name, path, pixels, odd in _read(channels, limits):
        check_sizes([(channels[0], planes[0].shape if planes else pixels.shape), ((name, path), pixels.shape)])
        planes.append(pixels)
        notes += odd
    return np.stack(planes, axis=-1), tuple(notes)


def _read(channels: Sequence[Named], limits: Limits) -> Iterator[tuple[str, Path, AnyArray, tuple[str, ...]]]:
    for name, path in channels:
        pixels, notes = read_image_noted(path, limits)
        if not (np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(pixels[..., 0], pixels[..., 2])):
            raise UserError(
                f"an image in colour, where the channel {name} is expected: grey levels",
                where=path,
                remedy="save each of its colours as a file, and name each as a channel",
            )
        yield name, path, pixels[..., 0], tuple(f"{name}: {note}" for note in notes)
