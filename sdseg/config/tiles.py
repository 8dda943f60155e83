"""Tiles of images that are much larger than the working size: what is stored, trained on and put together again."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from sdseg.config.patches import SlidingWindow
from sdseg.core.errors import UserError
from sdseg.core.settings import Strict

__all__ = ["TILES_OF_VOLUMES", "Tiles", "check_tiles"]

TILES_OF_VOLUMES = "'tiles' are of images, and these are volumes ('modality: {modality}')"


class Tiles(Strict):
    """Images are not squeezed into the working size, but seen through a window of that size (of images alone)."""

    overlap: float = Field(0.5, ge=0, le=0.9)  # share of a tile that it has in common with the next, at inference
    blending: Literal["gaussian", "constant"] = "gaussian"  # weight of a tile's pixels: most in its middle, or equal
    scale: float = Field(1.0, ge=0.01, le=8)  # images are brought to this part of their size first; 1: their own pixels

    @model_validator(mode="before")
    @classmethod
    def _side_is_the_size(cls, data: Any) -> Any:
        if isinstance(data, dict) and "size" in data:
            raise ValueError("the size of a tile is the dataset's own 'size': leave it out here")
        return data

    def __str__(self) -> str:
        return f"tiles at scale {self.scale:g}"

    def window(self, sides: tuple[int, int]) -> SlidingWindow:
        """The one that an image is looked at through: as deep as a slice, tiles of this height and width."""
        return SlidingWindow(size=(1, *sides), overlap=self.overlap, blending=self.blending)

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of an image of this size once it is at `scale`."""
        return max(1, round(height * self.scale)), max(1, round(width * self.scale))


def check_tiles(tiles: Tiles | None, modality: str, where: str) -> None:
    """Raise UserError where a dataset of volumes asks for tiles."""
    if tiles is not None and modality != "rgb":
        raise UserError(
            TILES_OF_VOLUMES.format(modality=modality),
            where=where,
            remedy="leave 'tiles' out: slices come to the working 'size', and recipes with 'network.dimensions: 3' see "
            "patches of them",
        )
