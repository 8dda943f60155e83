"""One raw case at the working size: image and label read, compared with each other, cut and resized."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdseg.data.geometry import Geometry, check_same_grid
from sdseg.data.layouts import RawCase
from sdseg.data.slices import resize_images, resize_labels, to_axial
from sdseg.data.sources import Source
from sdseg.data.volumes import read_geometry, read_image, read_labels, read_mask, read_volume
from sdseg.errors import UserError
from sdseg.tensors import LabelArray, RawImages

__all__ = ["Reading", "count_slices", "read_case"]


@dataclass(frozen=True)
class Reading:
    """A case's slices at the working size, and the size they had."""

    images: RawImages  # [slices,size,size,C]
    masks: LabelArray  # [slices,size,size]
    height: int  # native rows of a slice
    width: int
    geometry: Geometry | None  # None: an image, not a volume


def count_slices(case: RawCase) -> int:
    """Axial slices of a volume, from the headers alone. Raises UserError unless image and label lie on one grid."""
    return _grid(case).canonical_shape[2]


def read_case(source: Source, case: RawCase, size: int) -> Reading:
    """Read one case. Raises UserError naming the file where image and label do not fit each other or the dataset."""
    return _read_image(source, case, size) if source.modality == "rgb" else _read_volume(source, case, size)


def _read_image(source: Source, case: RawCase, size: int) -> Reading:
    if source.coding is None:
        raise ValueError(f"{source.name} has images but no mask coding")
    pixels, grey = read_image(case.image), read_mask(case.label)
    height, width = grey.shape
    if pixels.shape[:2] != grey.shape:
        raise UserError(
            f"the image is {pixels.shape[1]}×{pixels.shape[0]} pixels, its mask {width}×{height}",
            where=case.label,
            remedy=f"give the mask that was drawn on {case.image.name}",
        )
    labels = source.coding.decode(grey, case.label)
    square = (size, size)
    return Reading(resize_images(pixels[None], square), resize_labels(labels[None], square), height, width, None)


def _read_volume(source: Source, case: RawCase, size: int) -> Reading:
    _grid(case)
    square = (size, size)
    labels, _ = read_labels(case.label)
    _check_declared(source, labels, case)
    masks = resize_labels(to_axial(labels), square)
    del labels  # one full-size volume at a time
    voxels, geometry = read_volume(case.image)
    images = resize_images(to_axial(voxels)[..., None], square)
    width, height, _ = geometry.canonical_shape
    return Reading(images, masks, height, width, geometry)


def _grid(case: RawCase) -> Geometry:
    geometry = read_geometry(case.image)
    difference = check_same_grid(geometry, read_geometry(case.label))
    if difference:
        raise UserError(difference, where=case.label, remedy=f"give the label that was drawn on {case.image.name}")
    return geometry


def _check_declared(source: Source, labels: LabelArray, case: RawCase) -> None:
    declared = {0, *source.labels}
    if declared.issuperset(range(int(labels.max()) + 1)):
        return  # the usual case, many times faster than counting
    counted = np.zeros(256, dtype=np.int64)
    for axial in to_axial(labels):  # slice by slice: counting a whole volume at once takes eight times its size
        counted += np.bincount(axial.ravel(), minlength=256)
    foreign = sorted(set(np.flatnonzero(counted).tolist()) - declared)
    if foreign:
        raise UserError(
            f"label values {foreign}; {source.title} has 0 to {max(source.labels)}",
            where=case.label,
            remedy="give the labels as their owner ships them",
        )
