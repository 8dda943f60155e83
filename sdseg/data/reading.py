"""One raw case at the working size: image and label read, compared with each other, cut and resized."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sdseg.data.duplicates import fingerprint
from sdseg.data.geometry import Geometry, check_same_grid
from sdseg.data.images import read_image_noted, read_mask
from sdseg.data.layouts import RawCase
from sdseg.data.limits import LIMITS, Limits
from sdseg.data.slices import resize_images, resize_labels, stretch, to_axial
from sdseg.data.sources import Source
from sdseg.data.volumes import read_geometry, read_labels, read_volume_noted
from sdseg.errors import UserError
from sdseg.tensors import LabelArray, RawImages

__all__ = ["Content", "Reading", "count_slices", "present_labels", "read_case"]


@dataclass(frozen=True)
class Content:
    """What the check wants to know of a case, taken at its native size while it is read."""

    low: int  # smallest raw value
    high: int  # largest
    labels: tuple[int, ...]  # ids that occur, 0 left out
    lost: tuple[int, ...]  # those of them that no pixel of the working size has
    fingerprint: npt.NDArray[np.uint64] | None  # of data/duplicates.py; None: a picture of one colour
    notes: tuple[str, ...] = ()  # what is odd about the image's file


@dataclass(frozen=True)
class Reading:
    """A case's slices at the working size, and the size they had."""

    images: RawImages  # [slices,size,size,C]
    masks: LabelArray  # [slices,size,size]
    height: int  # native rows of a slice
    width: int
    geometry: Geometry | None  # None: an image, not a volume
    content: Content


def count_slices(case: RawCase) -> int:
    """Axial slices of a volume, from the headers alone. Raises UserError unless image and label lie on one grid."""
    return _grid(case).canonical_shape[2]


def read_case(
    source: Source,
    case: RawCase,
    size: int,
    spread: tuple[float, float] | None = None,
    limits: Limits = LIMITS,
) -> Reading:
    """Read one case; a volume is stretched to the window `spread` where one is given (data/slices.py `stretch`).

    Raises UserError naming the file where image and label do not fit each other or the dataset, or exceed `limits`.
    """
    if source.modality == "rgb":
        return _read_image(source, case, size, limits)
    return _read_volume(source, case, size, spread, limits)


def present_labels(labels: LabelArray) -> tuple[int, ...]:
    """Ids that occur in label maps, 0 left out. Most voxels are background: only eights with a label are counted."""
    unflipped = labels[tuple(slice(None, None, 1 if stride > 0 else -1) for stride in labels.strides)]
    flat = unflipped.transpose(np.argsort(unflipped.strides)[::-1]).reshape(-1)  # as it lies in memory: no copy
    eights = flat[: flat.size // 8 * 8].view(np.uint64)
    rest = np.concatenate([eights[eights != 0].view(np.uint8), flat[eights.size * 8 :]])
    counted = cv2.calcHist([rest[None]], [0], None, [256], [0, 256]).ravel()
    return tuple((np.flatnonzero(counted[1:]) + 1).tolist())


def _read_image(source: Source, case: RawCase, size: int, limits: Limits) -> Reading:
    if source.coding is None:
        raise ValueError(f"{source.name} has images but no mask coding")
    (pixels, notes), grey = read_image_noted(case.image, limits), read_mask(case.label, limits)
    height, width = grey.shape
    if pixels.shape[:2] != grey.shape:
        raise UserError(
            f"the image is {pixels.shape[1]}×{pixels.shape[0]} pixels, its mask {width}×{height}",
            where=case.label,
            remedy=f"give the mask that was drawn on {case.image.name}",
        )
    labels = source.coding.decode(grey, case.label)[None]
    square = (size, size)
    masks = resize_labels(labels, square)
    content = _content(source, pixels[None], present_labels(labels), masks, notes)
    return Reading(resize_images(pixels[None], square), masks, height, width, None, content)


def _read_volume(
    source: Source, case: RawCase, size: int, spread: tuple[float, float] | None, limits: Limits
) -> Reading:
    _grid(case)
    square = (size, size)
    labels, _ = read_labels(case.label, limits)
    if source.coding is not None:
        labels = source.coding.decode(labels, case.label)
    present = present_labels(labels)
    _check_declared(source, present, case)
    masks = resize_labels(to_axial(labels), square)
    del labels  # one full-size volume at a time
    window = next(iter(source.windows.values()))
    voxels, geometry, notes = read_volume_noted(case.image, limits, window)
    content = _content(source, to_axial(voxels)[..., None], present, masks, notes)
    if spread is not None:
        voxels = stretch(voxels, spread)
    images = resize_images(to_axial(voxels)[..., None], square)
    width, height, _ = geometry.canonical_shape
    return Reading(images, masks, height, width, geometry, content)


def _content(
    source: Source, images: RawImages, labels: tuple[int, ...], masks: LabelArray, notes: tuple[str, ...]
) -> Content:
    return Content(
        low=int(images.min()),
        high=int(images.max()),
        labels=labels,
        lost=tuple(sorted(set(labels) - set(present_labels(masks)))),
        fingerprint=fingerprint(images, next(iter(source.windows.values()))),
        notes=notes,
    )


def _grid(case: RawCase) -> Geometry:
    geometry = read_geometry(case.image)
    difference = check_same_grid(geometry, read_geometry(case.label))
    if difference:
        raise UserError(difference, where=case.label, remedy=f"give the label that was drawn on {case.image.name}")
    return geometry


def _check_declared(source: Source, present: tuple[int, ...], case: RawCase) -> None:
    foreign = sorted(set(present) - set(source.labels))
    if foreign:
        raise UserError(
            f"label values {foreign}; {source.title} has 0 to {max(source.labels)}",
            where=case.label,
            remedy="give the labels as their owner ships them",
        )
