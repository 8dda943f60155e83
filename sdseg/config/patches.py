"""Patches of volumes: what a three-dimensional recipe trains on, and how a whole volume is put together from them."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from sdseg.core.settings import Strict

__all__ = ["Extent", "Patches", "SlidingWindow", "Spacing", "levels_of"]

Length = Annotated[int, Field(ge=1, le=8192)]
Millimetres = Annotated[float, Field(gt=0, le=1000)]
Extent = tuple[Length, Length, Length]  # depth, height, width
Spacing = tuple[Millimetres, Millimetres, Millimetres]  # along the same axes

COARSE = 2.0  # times the finest spacing: an axis beyond it is neither mixed nor halved
SMALLEST = 4  # voxels of an axis at the coarsest level


class SlidingWindow(Strict):
    """How a volume is covered by patches at inference (MONAI's `sliding_window_inference`)."""

    size: Extent  # depth in slices, height and width in pixels of the working size
    overlap: float = Field(0.5, ge=0, le=0.9)  # share of a patch that it has in common with the next
    blending: Literal["gaussian", "constant"] = "gaussian"  # weight of a patch's voxels: most in its middle, or equal

    @property
    def common(self) -> SlidingWindow:
        """Windows as large, with the overlap and the blending that training validates by, whatever the recipe's."""
        return SlidingWindow(size=self.size)

    def patches_per_slice(self, sides: tuple[int, int]) -> float:
        """How many patches there are to a slice of this height and width, in a volume of many slices."""
        return self.patches_in(*sides) / max(1, int(self.size[0] * (1 - self.overlap)))

    def patches_in(self, height: int, width: int) -> int:
        """How many patches lie side by side in a slice of this size."""
        return math.prod(
            1 + max(0, math.ceil((length - side) / max(1, int(side * (1 - self.overlap)))))
            for length, side in zip((height, width), self.size[1:], strict=True)
        )


class Patches(SlidingWindow):
    """The patches that training draws, and those of inference, which are as large."""

    foreground: float = Field(0.5, ge=0, le=1)  # share of patches with a voxel of a structure in their middle

    @property
    def window(self) -> SlidingWindow:
        """What inference knows of them."""
        return SlidingWindow(size=self.size, overlap=self.overlap, blending=self.blending)


def levels_of(size: Extent, spacing: Spacing, count: int) -> tuple[list[Extent], list[Extent]]:
    """Kernels and strides of the levels of a U-Net on patches of `size` voxels, as nnU-Net chooses them.

    An axis of more than twice the finest spacing is coarse: kernels are 1 along it and it is not halved, until the
    others have come near it. An axis of few voxels is not halved any more. Raises ValueError where a level would halve
    none.
    """
    kernels: list[Extent] = []
    strides: list[Extent] = [(1, 1, 1)]
    sides, lengths = list(size), list(spacing)
    mixed = [False, False, False]  # once they are, they stay so
    for level in range(count):
        mixed = [each or length <= COARSE * min(lengths) for each, length in zip(mixed, lengths, strict=True)]
        depth, height, width = (3 if each else 1 for each in mixed)
        kernels.append((depth, height, width))
        if level == count - 1:
            break
        even = [not side % 2 and side >= 2 * SMALLEST for side in sides]
        finest = min((length for length, each in zip(lengths, even, strict=True) if each), default=0.0)
        halved = [each and length <= COARSE * finest for each, length in zip(even, lengths, strict=True)]
        if not any(halved):
            left = " × ".join(map(str, sides))
            raise ValueError(
                f"patches of {' × '.join(map(str, size))} voxels cannot be halved {count - 1} times: at level "
                f"{level + 1} {left} are left; make 'patches.size' larger (multiples of {2 ** (count - 1)} in plane), "
                "or give 'network.channels' fewer entries"
            )
        depth, height, width = (2 if each else 1 for each in halved)
        strides.append((depth, height, width))
        sides = [side // step for side, step in zip(sides, strides[-1], strict=True)]
        lengths = [length * step for length, step in zip(lengths, strides[-1], strict=True)]
    return kernels, strides
