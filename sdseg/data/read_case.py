"""One raw case at the working size: image and label read, compared with each other, cut and resized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from sdseg.artifacts.image_contract import ImageContract
from sdseg.core.array_types import LabelArray, RawImages
from sdseg.core.errors import UserError
from sdseg.data.duplicates import picture_hash
from sdseg.data.fit import SliceFit, fit_of
from sdseg.data.intensities import Spread, intensities_of, spread_of
from sdseg.data.normalise import to_contract
from sdseg.data.read_channels import check_grids, read_grey_channels
from sdseg.data.read_label import LabelFile, merged, resized
from sdseg.data.shown_channel import shown_of
from sdseg.data.slicing import along_slices, to_slices
from sdseg.data.tile_grid import TileGrid
from sdseg.data.transforms import stretch
from sdseg.datasets.layouts import RawCase
from sdseg.datasets.lidc_xml import is_markup
from sdseg.datasets.sources import Source
from sdseg.io.geometry import Geometry, check_same_grid
from sdseg.io.images import read_image_noted, size_in_header
from sdseg.io.limits import LIMITS, Limits
from sdseg.io.number_types import Values, values_of
from sdseg.io.volumes import (
    check_scale,
    range_in_header,
    read_geometry,
    read_volume_noted,
)

BORDER = 0.02  # share of labelled voxels that resampling may move over the border of what is seen

__all__ = [
    *("CaseArrays", "CaseFacts", "count_labels", "count_tiles"),
    *("read_case", "read_grid", "voxel_values", "with_intensities"),
]


@dataclass(frozen=True)
class CaseFacts:
    """What the check wants to know of a case, taken at its native size while it is read."""

    spread: Spread  # of the raw values
    labels: tuple[int, ...]  # ids that occur, 0 left out
    lost: tuple[int, ...]  # those of them that no pixel of the working size has
    picture_hash: npt.NDArray[np.uint64] | None  # of data/duplicates.py; None: of one colour, or a slice of a scan
    areas: tuple[tuple[int, float], ...] = ()  # label id and its share of the image, at its native size
    notes: tuple[str, ...] = ()  # what is odd about the image's file, and what the store's number type takes from it
    channels: tuple[Spread, ...] = ()  # of several channels the raw values of each; `spread` is the first one's


@dataclass(frozen=True)
class CaseArrays:
    """A case's slices at the working size, and the size they had."""

    images: RawImages  # [slices or tiles,height,width,C]
    masks: LabelArray  # [slices or tiles,height,width]
    height: int  # native rows of a slice
    width: int
    geometry: Geometry | None  # None: an image, not a volume
    facts: CaseFacts
    # By annotator his label maps, of which `masks` are the majority; empty where nobody tells annotators apart.
    annotated: Mapping[str, LabelArray] = field(default_factory=dict)


def read_grid(case: RawCase, modality: str = "ct") -> Geometry:
    """The grid of a volume, from the headers alone. Raises UserError unless image and label lie on one."""
    geometry = read_geometry(case.image, modality)
    if case.channels:
        check_grids([(channel, read_geometry(channel[1], modality)) for channel in case.channels])
    for path in case.label_files:
        difference = None if is_markup(path) else check_same_grid(geometry, read_geometry(path))
        if difference:
            raise UserError(difference, where=path, remedy=f"give the label that was drawn on {case.image.name}")
    return geometry


def count_tiles(path: Path, image: ImageContract) -> int:
    """Tiles that an image is cut into, from its header alone. Raises UserError where that does not tell."""
    size = size_in_header(path)
    if size is None:
        raise UserError("an image whose size cannot be read", where=path, remedy="save it again as PNG or TIFF")
    return len(TileGrid(*image.working_size(*size), image.sides))


def voxel_values(path: Path, image: ImageContract, limits: Limits = LIMITS) -> Values:
    """What a number type must hold to keep a volume: by its header where that tells, else by its voxels.

    Raises UserError where the volume cannot be read, and for normalised values where the window wants others.
    """
    values = range_in_header(path)
    if values is None:
        values = values_of(read_volume_noted(path, limits, image)[0])
        check_scale(values, image.window, path)
    return values


def read_case(
    source: Source, case: RawCase, image: ImageContract, *, stretched: bool = False, limits: Limits = LIMITS
) -> CaseArrays:
    """Read one case as `image` wants it; with `stretched` a volume spans the window (data/transforms.py `stretch`).

    Raises UserError naming the file where image and label do not fit each other or the dataset, or exceed `limits`.
    """
    if image.modality == "rgb":
        return _read_image(source, case, image, limits)
    return _read_volume(source, case, image, stretched, limits)


def with_intensities(image: ImageContract, trained: Sequence[CaseFacts]) -> ImageContract:
    """The contract with how the raw values of the training cases lie, of several channels by channel."""
    if not image.channel_names:
        return image.model_copy(update={"intensities": intensities_of([facts.spread for facts in trained])})
    by_channel = zip(*(facts.channels for facts in trained), strict=True)
    each = tuple(one for spreads in by_channel if (one := intensities_of(spreads)) is not None)
    return image.model_copy(update={"channel_intensities": each})


def count_labels(labels: LabelArray) -> dict[int, int]:
    """Pixels of each id that occurs in label maps, 0 left out. Only eights of pixels that hold a label are counted."""
    unflipped = labels[tuple(slice(None, None, 1 if stride > 0 else -1) for stride in labels.strides)]
    flat = unflipped.transpose(np.argsort(unflipped.strides)[::-1]).reshape(-1)  # as it lies in memory: no copy
    eights = flat[: flat.size // 8 * 8].view(np.uint64)
    rest = np.concatenate([eights[eights != 0].view(np.uint8), flat[eights.size * 8 :]])
    counts = cv2.calcHist([rest[None]], [0], None, [256], [0, 256]).ravel()
    # OpenCV counts in single precision: beyond 2^24 pixels the last digits go, never a label.
    return {int(label): int(counts[label]) for label in np.flatnonzero(counts[1:]) + 1}


def _read_image(source: Source, case: RawCase, image: ImageContract, limits: Limits) -> CaseArrays:
    if source.coding is None:
        raise ValueError(f"{source.name} has images but no mask coding")
    pixels, notes = read_grey_channels(case.channels, limits) if case.channels else read_image_noted(case.image, limits)
    by_annotator = {}
    for file in _label_files(case):
        by_annotator[file.annotator] = own = file.read(image, source.coding, limits)
        if pixels.shape[:2] != own.shape[1:]:
            raise UserError(
                f"the image is {pixels.shape[1]}×{pixels.shape[0]} pixels, its mask {own.shape[2]}×{own.shape[1]}",
                where=file.path,
                remedy=f"give the mask that was drawn on {case.image.name}",
            )
    labels = merged([*by_annotator.values()])
    height, width, _ = pixels.shape
    fit = fit_of(image, (height, width), ())
    masks, images = fit.labels(labels), fit.images(pixels[None], image.window[0])
    shown = shown_of(pixels[None], image)
    facts = _facts(source, shown, count_labels(labels), labels.size, masks, notes, _spreads(pixels[None], image))
    annotated = resized(by_annotator, fit) if case.annotations else {}
    if image.tiles is not None:
        grid = TileGrid(*fit.working, image.sides)
        images, masks = grid.cut(images[0], image.window[0]), grid.cut(masks[0])
        annotated = {name: grid.cut(one[0]) for name, one in annotated.items()}
    return CaseArrays(images, masks, height, width, None, facts, annotated)


def _read_volume(source: Source, case: RawCase, image: ImageContract, stretched: bool, limits: Limits) -> CaseArrays:
    grid = read_grid(case, image.modality)
    _, height, width = along_slices(grid.canonical_shape, image.slicing)
    fit = fit_of(image, (height, width), grid.spacing)
    by_annotator = {}
    for file in _label_files(case):
        by_annotator[file.annotator] = own = file.read(image, source.coding, limits)
        label_counts = count_labels(own)
        _check_declared(source, tuple(label_counts), file.path)
    labels = merged([*by_annotator.values()])
    if case.annotations:
        label_counts = count_labels(labels)
    masks = fit.labels(labels)
    lost = _cut_off(labels, masks, fit)
    annotated = resized(by_annotator, fit) if case.annotations else {}
    del labels, own, by_annotator  # full-size labels and the full-size image are not held together
    planes, spreads, all_notes = list[RawImages](), list[Spread](), [*lost]
    shown: RawImages | None = None
    geometry = grid
    for number, path in enumerate(case.images):  # at full size one at a time
        raw, own_grid, notes = read_volume_noted(path, limits, image)
        geometry = geometry if number else own_grid  # the case's axes and affine are those of its first file
        voxels, altered = to_contract(raw, image, path, number)
        slices = to_slices(voxels, image.slicing)[..., None]
        spreads.append(spread_of(to_slices(raw, image.slicing)[..., None] if image.is_normalised else slices))
        del raw, voxels
        shown = slices if number == image.shown_channel else shown
        planes.append(fit.images(stretch(slices, image.window) if stretched else slices, image.window[0]))
        all_notes += [f"{case.channels[number][0]}: {note}" if case.channels else note for note in (*notes, *altered)]
    if shown is None:
        raise ValueError("no channel is shown")
    facts = _facts(source, shown, label_counts, shown.size, masks, tuple(all_notes), spreads)
    if case.image.suffix == ".dcm":  # a slice of a scan looks like the next one, and the patient is their group
        facts = replace(facts, picture_hash=None)
    return CaseArrays(np.concatenate(planes, axis=-1), masks, height, width, geometry, facts, annotated)


def _spreads(images: RawImages, image: ImageContract) -> list[Spread]:
    """Of named channels that of each, else that of all together."""
    parts = np.split(images, images.shape[-1], axis=-1) if image.channel_names else [images]
    return [spread_of(part) for part in parts]


def _cut_off(labels: LabelArray, masks: LabelArray, fit: SliceFit) -> tuple[str, ...]:
    """A note where labels of a volume, [N,H,W], lie beyond what the working size shows of its slices."""
    if not fit.cut or not labels.any():
        return ()
    seen = fit.restore((masks > 0).astype(np.float32)) > 0  # a pixel of the border may go either way: half of one
    outside = np.count_nonzero(labels) - np.count_nonzero(seen & (labels > 0))
    if outside <= BORDER * np.count_nonzero(labels):
        return ()
    return ("labelled voxels lie beyond the working size and are cut off; make 'size' larger, or say 'fit: shrink'",)


def _facts(
    source: Source,
    images: RawImages,
    label_counts: Mapping[int, int],
    pixels: int,
    masks: LabelArray,
    notes: tuple[str, ...],
    spreads: Sequence[Spread],  # of the raw values, by channel
) -> CaseFacts:
    return CaseFacts(
        spread=spreads[0],
        channels=tuple(spreads) if len(spreads) > 1 else (),
        labels=tuple(label_counts),
        lost=tuple(sorted(label_counts.keys() - count_labels(masks).keys())),
        areas=tuple((label, number / pixels) for label, number in label_counts.items()),
        picture_hash=picture_hash(images, next(iter(source.windows.values()))),
        notes=notes,
    )


def _label_files(case: RawCase) -> list[LabelFile]:
    return [LabelFile(path, case.image, annotator) for annotator, path in case.annotations or (("", case.label),)]


def _check_declared(source: Source, present: tuple[int, ...], label: Path) -> None:
    foreign = sorted(set(present) - set(source.labels))
    if foreign:
        raise UserError(
            f"label values {foreign}; {source.title} has 0 to {max(source.labels)}",
            where=label,
            remedy="give the labels as their owner ships them"
            if source.name != "own"
            else "name them in 'labels', or say in 'mask_values' which label they mean: it takes values, ranges as "
            "'1-40', and 'nonzero'",
        )
