"""A backend that sees images of any size through tiles: the same for every runtime, by the one sliding window."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Self

import numpy as np

from sdseg.artifacts.image_contract import ImageContract
from sdseg.backends.base import Backend, Reseedable, hypotheses_of, samples_of, why_mean_alone
from sdseg.backends.sliding_window import over_patches
from sdseg.core.array_types import FloatArray, RawImages
from sdseg.core.errors import UserError

__all__ = ["TiledBackend", "tiled"]


class TiledBackend:
    """Another backend's answer to images [N,H,W,C] of one size, whatever it is, put together from tiles of its own.

    One tile is computed at a time. Memory grows with one image, not with their number: its pixels as float32, and 4
    bytes a pixel for each structure (and hypothesis), and for the sum of the weights.
    """

    one_at_a_time = True  # images differ in size

    def __init__(self, backend: Backend, image: ImageContract) -> None:
        if image.tiles is None:
            raise ValueError("no tiles are described")
        self.of_tiles, self._sides = backend, image.sides  # the first takes tiles
        self._window, self._outside = image.tiles.window(image.sides), image.window[0]
        self.on_tile: Callable[[], None] | None = None  # told after each tile

    @property
    def name(self) -> str:
        return self.of_tiles.name

    @property
    def samples(self) -> int:
        """How many hypotheses of an image there are; 0: their mean alone."""
        return samples_of(self.of_tiles)

    @property
    def mean_alone(self) -> str:
        return why_mean_alone(self.of_tiles)

    def probability(self, images: RawImages) -> FloatArray:
        """Raw images [N,H,W,C] of any height and width -> probability [N,K,H,W] in [0,1]."""
        return self._over_tiles(self.of_tiles.probability, images)

    def hypotheses(self, images: RawImages) -> FloatArray:
        """The same, every hypothesis by itself: [N,S,K,H,W]. Raises UserError where the backend has none."""
        own = hypotheses_of(self.of_tiles)
        if own is None:
            raise UserError(self.mean_alone, remedy="name a model that gives its hypotheses")
        return self._over_tiles(own, images)

    def with_seed(self, seed: int) -> Self:
        """The same with noise from another seed. Raises UserError where the backend cannot draw it anew."""
        if not isinstance(self.of_tiles, Reseedable):
            raise UserError(f"'{self.name}' cannot draw its noise from another seed", remedy="leave it out")
        other = copy(self)
        other.of_tiles = self.of_tiles.with_seed(seed)
        return other

    def tiles_in(self, height: int, width: int) -> int:
        """How many tiles an image of this size is covered by."""
        return self._window.patches_in(height, width)

    def _over_tiles(self, compute: Callable[[RawImages], FloatArray], images: RawImages) -> FloatArray:
        if images.shape[1:3] == self._sides:  # each is a tile
            answer = compute(images)
            self._tell(len(images))
            return answer

        def of_tiles(tiles: FloatArray) -> FloatArray:
            """[n,1,S,S,C] -> [n,…,1,S,S]"""
            answer = compute(tiles[:, 0].astype(images.dtype))
            self._tell(len(tiles))
            return answer[..., None, :, :]

        return np.concatenate([over_patches(of_tiles, image[None], self._window, self._outside) for image in images])

    def _tell(self, count: int) -> None:
        for _ in range(count):
            if self.on_tile is not None:
                self.on_tile()


def tiled(backend: Backend, image: ImageContract) -> Backend:
    """The backend as its contract wants it: with tiles, where that has any."""
    return backend if image.tiles is None else TiledBackend(backend, image)
