"""What a three-dimensional recipe asks of its own values, and of the data it meets."""

from __future__ import annotations

from pydantic import BaseModel

from sdseg.config.direct_network import DynUnet
from sdseg.config.end_to_end_network import EndToEndNetwork
from sdseg.config.patches import Extent, Patches
from sdseg.core.bounded_types import in_pixels
from sdseg.core.errors import UserError

__all__ = ["check_patches", "check_volumes", "patch_too_large"]

AUGMENTATIONS = ("none", "flips", "strong")


def check_patches(network: BaseModel, patches: Patches | None, augmentation: str) -> None:
    """Raise ValueError where a recipe's patches and the rest of it do not fit together."""
    if getattr(network, "dimensions", 2) == 2:
        if patches is not None:
            raise ValueError("'patches' are of volumes; set 'network.dimensions: 3', or leave them out")
        return
    if patches is None:
        raise ValueError(
            "'network.dimensions: 3' sees patches of volumes; give 'patches' with 'size: [depth, height, width]'"
        )
    if augmentation not in AUGMENTATIONS:
        raise ValueError(
            f"'training.augmentation: {augmentation}' is of slices; with 'network.dimensions: 3' "
            f"choose one of {', '.join(AUGMENTATIONS)}"
        )
    if isinstance(network, DynUnet):
        network.levels(patches.size)
    if isinstance(network, EndToEndNetwork) and any(side % network.smallest for side in patches.size):
        raise ValueError(
            f"patches of {' × '.join(map(str, patches.size))} voxels cannot be halved often enough: make each side of "
            f"'patches.size' a multiple of {network.smallest}, or give the networks fewer levels"
        )


def check_volumes(patches: Patches | None, modality: str, sides: tuple[int, int], dataset: str, where: str) -> None:
    """Raise UserError where a three-dimensional recipe meets images, or slices that are smaller than its patches."""
    if patches is None:
        return
    if modality == "rgb":
        raise UserError(
            f"a three-dimensional recipe ('network.dimensions: 3') on '{dataset}', which holds images and no volumes",
            where=where,
            remedy="give the recipe datasets of volumes alone ('recipes' of each dataset in the configuration), or set "
            "'network.dimensions: 2' and leave out 'patches'",
        )
    if any(patch > side for patch, side in zip(patches.size[1:], sides, strict=True)):
        raise patch_too_large(patches.size, f"slices of {in_pixels(sides)} pixels", dataset, where)


def patch_too_large(size: Extent, largest: str, dataset: str, where: str) -> UserError:
    """The error for patches that no volume of a dataset holds."""
    return UserError(
        f"a patch larger than the volume: {' × '.join(map(str, size))} (depth, height, width), and '{dataset}' has "
        f"{largest}",
        where=where,
        remedy="make 'patches.size' smaller; height and width count pixels of the dataset's 'size', depth slices",
    )
