"""Connected parts of a mask in two and three dimensions: OpenCV slice by slice, then merged across slices."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import MaskArray

__all__ = ["label_components"]

Numbers = npt.NDArray[np.int32]
Pairs = npt.NDArray[np.int64]  # [2,n]


def label_components(mask: MaskArray, *, corners: bool) -> tuple[Numbers, int]:
    """The number of its part, from 1, in each voxel of `mask` [Z,H,W], 0 outside; and how many parts there are.

    Neighbours share a face (of an image an edge), with `corners` also an edge or a corner.
    """
    numbers, count = np.empty(mask.shape, np.int32), 0
    pairs = [np.empty((2, 0), np.int64)]
    join = _joined_over_corners if corners else _joined_over_faces
    for z, plane in enumerate(mask):
        parts, own = _parts_of(plane, corners)
        numbers[z] = np.where(plane, own + count, 0)
        count += parts
        if z:
            pairs.append(join(numbers[z - 1], numbers[z]))
    root = _merge(count, np.concatenate(pairs, axis=1))
    heads = root == np.arange(count + 1)
    heads[0] = False
    final = np.cumsum(heads, dtype=np.int32)
    return final[root][numbers], int(final[-1])


def _parts_of(plane: MaskArray, corners: bool) -> tuple[int, Numbers]:
    count, parts = cv2.connectedComponents(plane.astype(np.uint8), connectivity=8 if corners else 4)
    return count - 1, np.asarray(parts, np.int32)


def _joined_over_faces(below: Numbers, above: Numbers) -> Pairs:
    """Parts of two slices that share pixels; those of a connected area of shared pixels are one pair."""
    both = (below > 0) & (above > 0)
    count, areas = _parts_of(both, corners=False)
    place = _places(areas, count)
    return np.stack([below.ravel()[place], above.ravel()[place]]).astype(np.int64)


def _joined_over_corners(below: Numbers, above: Numbers) -> Pairs:
    """Parts of two slices that lie in one area, corners included, of the pixels of either: all of these touch."""
    count, areas = _parts_of((below > 0) | (above > 0), corners=True)
    parts, where = [], []
    for slice_ in (below, above):
        first = int(slice_[slice_ > 0].min(initial=np.iinfo(np.int32).max))
        own = np.where(slice_ > 0, slice_ - first + 1, 0)
        parts.append(first + np.arange(own.max(initial=0)))
        where.append(areas.ravel()[_places(own, len(parts[-1]))])
    part, area = np.concatenate(parts).astype(np.int64), np.concatenate(where)
    one = np.zeros(count + 1, np.int64)
    one[area] = part
    return np.stack([one[area], part])


def _places(numbers: Numbers, count: int) -> npt.NDArray[np.int64]:
    """One place in the flat array for each of the numbers 1 … count."""
    place, inside = np.zeros(count + 1, np.int64), np.flatnonzero(numbers)
    place[numbers.ravel()[inside]] = inside
    return place[1:]


def _merge(count: int, pairs: Pairs) -> npt.NDArray[np.int64]:
    """The lowest number that each of 0 … count hangs together with, by the pairs [2,n] that touch."""
    root = np.arange(count + 1)
    while True:
        low, high = np.sort(root[pairs], axis=0)
        apart = low != high
        if not apart.any():
            return root
        np.minimum.at(root, high[apart], low[apart])
        while not np.array_equal(root, flatter := root[root]):
            root = flatter
