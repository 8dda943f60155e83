"""Which choices of shape go with which kind of data."""

from __future__ import annotations

from sdseg.config.dataset import Dataset
from sdseg.config.tiles import check_tiles
from sdseg.core.errors import UserError

__all__ = ["check_shape"]


def check_shape(settings: Dataset, modality: str, where: str) -> None:
    """Raise UserError for what only volumes have, of a dataset of images, and for tiles of volumes."""
    check_tiles(settings.tiles, modality, where)
    of_volumes = (("slicing", settings.slicing, "axial"), ("spacing", settings.spacing, "none"))
    for key, value, default in of_volumes if modality == "rgb" else ():
        if value != default:
            shown = value if isinstance(value, str) else list(value)
            raise UserError(
                f"'{key}: {shown}' is for volumes, and these data are images", where=where, remedy="leave it out"
            )
