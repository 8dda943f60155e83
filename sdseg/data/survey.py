"""What a folder of somebody's data holds, looked at before anything is configured: sizes, masks, intensities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from sdseg.config.shape import Plane
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.core.parallel import each
from sdseg.data.choose_shape import coarsest_plane
from sdseg.data.intensities import Spread, spread_of
from sdseg.data.read_channels import check_grids
from sdseg.data.slicing import along_slices, to_slices
from sdseg.datasets.layouts import RawCase
from sdseg.io.geometry import check_same_grid
from sdseg.io.images import read_image, read_mask
from sdseg.io.volumes import read_geometry, read_labels, read_volume

__all__ = ["CaseView", "ChannelView", "Survey", "look_at"]

MOST_IMAGES, MOST_VOLUMES = 300, 16  # cases that are looked at, evenly spread over all
LABELLED = 50_000  # values of labelled voxels of a volume that percentiles are taken from


@dataclass(frozen=True)
class ChannelView:
    """The values of one channel of a volume."""

    spread: Spread
    zeros: float  # share of the voxels that are exactly 0
    labelled: tuple[float, float] | None  # 0.5 and 99.5 percentile of the voxels with a label


@dataclass(frozen=True)
class CaseView:
    """What was seen of one case at its native size."""

    height: int  # rows of a slice
    width: int
    depth: int  # slices; 1 of an image
    spacing: tuple[float, ...]  # mm, along left-right, back-front, foot-head; empty for images
    counts: dict[int, int]  # pixels of each value of the mask's file, in the slices that have it
    shares: dict[int, float]  # of a slice that has it, the share that each value of the mask takes, its median
    channels: tuple[ChannelView, ...]  # of a volume, in their order; empty for images
    even: float  # share of the pixels of the mask that have the value of the next one
    # Of an image: how many sides of pixels lie between two values of the mask, the smaller value first.
    borders: dict[tuple[int, int], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Survey:
    """A data set as far as it was looked at."""

    cases: int
    groups: int
    slices: int  # of all cases, where not all were looked at by their mean
    views: tuple[CaseView, ...]
    plane: Plane = "axial"  # of the slices of volumes: across the longest voxels, as `slicing: coarsest` finds it

    @property
    def values(self) -> dict[int, float]:
        """Every value of the masks, with its share of all pixels that were looked at."""
        counts: Counter[int] = Counter()
        for view in self.views:
            counts.update(view.counts)
        total = sum(counts.values())
        return {value: counts[value] / total for value in sorted(counts)}

    @property
    def even(self) -> float:
        """How often neighbouring pixels of masks are equal: nearly always in masks, seldom in pictures."""
        return median(view.even for view in self.views)

    def span(self, key: str) -> tuple[float, float, float]:
        """Smallest, median and largest of a number of the cases."""
        numbers = [getattr(view, key) for view in self.views]
        return min(numbers), median(numbers), max(numbers)


def look_at(cases: Sequence[RawCase], modality: str, *, jobs: int, where: Path) -> Survey:
    """Read masks and images of a data set, of many cases some.

    Raises ListedError that names every file that cannot be read, or whose mask lies on another grid.
    """
    most = MOST_IMAGES if modality == "rgb" else MOST_VOLUMES
    places = np.unique(np.linspace(0, len(cases) - 1, min(most, len(cases))).round().astype(int))
    chosen = [cases[place] for place in places]
    plane: Plane = "axial" if modality == "rgb" else _plane(chosen, modality)
    views = each(
        lambda case: _image(case) if modality == "rgb" else _volume(case, modality, plane),
        chosen,
        jobs=jobs,
        title="looking at the data",
        where=where,
        remedy="replace the files named above by whole copies, or take image and mask away together",
    )
    depth = sum(view.depth for view in views) / len(views)
    groups = len({case.group or case.id for case in cases})
    return Survey(len(cases), groups, round(depth * len(cases)), tuple(views), plane)


def _image(case: RawCase) -> CaseView:
    pixels, mask = read_image(case.image), read_mask(case.label, deep=True)
    if pixels.shape[:2] != mask.shape:
        raise UserError(
            f"the image is {pixels.shape[1]}×{pixels.shape[0]} pixels, its mask {mask.shape[1]}×{mask.shape[0]}",
            where=case.label,
            remedy=f"give the mask that was drawn on {case.image.name}",
        )
    counts, shares = _values(mask[None])
    return CaseView(pixels.shape[0], pixels.shape[1], 1, (), counts, shares, (), _even(mask[None]), _borders(mask))


def _plane(cases: Sequence[RawCase], modality: str) -> Plane:
    """The one that `slicing: coarsest` would choose, as far as headers can be read."""
    spacings = []
    for case in cases:
        try:
            spacings.append(read_geometry(case.image, modality).spacing)
        except UserError:  # said when it is read
            continue
    return coarsest_plane(spacings)


def _volume(case: RawCase, modality: str, plane: Plane) -> CaseView:
    geometry = read_geometry(case.image, modality)
    depth, height, width = along_slices(geometry.canonical_shape, plane)
    labels, grid = read_labels(case.label, deep=True)
    difference = check_same_grid(geometry, grid)
    if difference:
        raise UserError(difference, where=case.label, remedy=f"give the label that was drawn on {case.image.name}")
    slices = to_slices(labels, plane)
    counts, shares = _values(slices)
    named = case.channels or (("", case.image),)
    check_grids([((name, path), read_geometry(path, modality)) for name, path in named])
    channels = tuple(_channel(path, labels, modality) for _, path in named)
    return CaseView(height, width, depth, geometry.spacing, counts, shares, channels, _even(slices))


def _channel(path: Path, labels: AnyArray, modality: str) -> ChannelView:
    voxels, _ = read_volume(path, modality=modality)
    spread = spread_of(voxels)
    if spread.low == spread.high:
        raise UserError(
            f"an empty volume: every voxel is {spread.low:g}", where=path, remedy="export it again or leave it out"
        )
    labelled = None
    if labels.any():
        values = voxels[labels > 0]
        values = values[:: max(1, values.size // LABELLED)]
        low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
        labelled = (low, high)
    return ChannelView(spread, float(np.count_nonzero(voxels == 0)) / voxels.size, labelled)


def _even(slices: AnyArray) -> float:
    return float(np.mean(slices[..., 1:] == slices[..., :-1]))


def _borders(mask: AnyArray) -> dict[tuple[int, int], int]:
    """Of a label map [H,W]: sides of pixels between each two values that meet."""
    counts: Counter[tuple[int, int]] = Counter()
    for one, other in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
        place = one != other
        low, high = np.minimum(one[place], other[place]), np.maximum(one[place], other[place])
        pairs, numbers = np.unique(low.astype(np.int64) << 32 | high.astype(np.int64), return_counts=True)
        for pair, number in zip(pairs, numbers, strict=True):
            counts[int(pair) >> 32, int(pair) & 0xFFFFFFFF] += int(number)
    return dict(counts)


def _values(slices: AnyArray) -> tuple[dict[int, int], dict[int, float]]:
    """Of label maps [N,H,W]: pixels of each value, and its median share of a slice among those that have it."""
    counts: Counter[int] = Counter()
    shares: dict[int, list[float]] = {}
    for one in slices:
        for value, number in zip(*np.unique(one, return_counts=True), strict=True):
            counts[int(value)] += int(number)
            shares.setdefault(int(value), []).append(int(number) / one.size)
    return dict(counts), {value: median(some) for value, some in shares.items()}
