"""Whether images are seen in tiles, and how these overlap: as the model was made, or as the user says; and progress."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from sdseg.artifacts.image_contract import ImageContract
from sdseg.backends.averaged_models import EnsembleBackend
from sdseg.backends.base import Backend
from sdseg.backends.open_model import Served
from sdseg.backends.tiled import TiledBackend, tiled
from sdseg.config.tiles import Tiles
from sdseg.core.bounded_types import in_pixels
from sdseg.core.errors import UserError
from sdseg.inference.native_size import NativeSegmentation

__all__ = ["counting_tiles", "with_tiles_by"]

log = logging.getLogger("sdseg.inference.predict")
Progress = Callable[[int, int], None]  # done, of


def with_tiles_by(served: Served, tiles: bool | None, overlap: float | None) -> Served:
    """The model with tiles or without, and with another overlap of them; None: as it was made.

    Says where that is other than the model was trained. Raises UserError for a model of volumes, and for an overlap
    where there are no tiles.
    """
    if tiles is None and overlap is None:
        return served
    image = served.image
    if image.modality != "rgb":
        raise UserError(
            f"tiles are of images, and {served.words}",
            where="--tiles" if tiles is not None else "--overlap",
            remedy="leave it out: a three-dimensional model has patches of its own",
        )
    wanted = (image.tiles or Tiles()) if tiles is None or tiles else None
    if overlap is not None:
        if wanted is None or (tiles is None and image.tiles is None):
            raise UserError(
                "an overlap of tiles, and images are resized as a whole",
                where="--overlap",
                remedy="say --tiles as well, or leave it out",
            )
        wanted = wanted.model_copy(update={"overlap": overlap})
    if image.tiles is None and wanted is not None:
        log.warning(
            "images are seen in tiles of %s of their own pixels; the model was trained on whole images, resized to as "
            "much: structures may look larger than any it has seen",
            in_pixels(image.sides),
        )
    elif image.tiles is not None and wanted is None:
        log.warning("images are resized as a whole; the model was trained on tiles, where structures are larger")
    contract = image.model_copy(update={"tiles": wanted})
    return replace(served, image=contract, backend=_retiled(served.backend, contract))


@contextmanager
def counting_tiles(
    backend: Backend, opened: Sequence[NativeSegmentation], progress: Progress | None
) -> Iterator[Progress | None]:
    """While it is open, `progress` is told each tile of some inputs; gives what is left to be told each slice."""
    one_by_one = _tiled_members(backend)
    if progress is None or not one_by_one:
        yield progress
        return
    done, total = 0, sum(one.tiles_in(*native.images.shape[1:3]) for one in one_by_one for native in opened)

    def tell() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    for one in one_by_one:
        one.on_tile = tell
    try:
        yield None
    finally:
        for one in one_by_one:
            one.on_tile = None


def _retiled(backend: Backend, image: ImageContract) -> Backend:
    if isinstance(backend, EnsembleBackend):
        return EnsembleBackend([_retiled(member, image) for member in backend.members])
    return tiled(backend.of_tiles if isinstance(backend, TiledBackend) else backend, image)


def _tiled_members(backend: Backend) -> list[TiledBackend]:
    members = backend.members if isinstance(backend, EnsembleBackend) else (backend,)
    return [member for member in members if isinstance(member, TiledBackend)]
