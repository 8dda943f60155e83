"""Any backend over the cases of a store, scored by the same lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sdseg.artifacts.image_contract import ImageContract, Structure
from sdseg.artifacts.manifests import PreparedManifest
from sdseg.core.array_types import FloatArray, MaskArray, RawImages
from sdseg.core.errors import ListedError, UserError
from sdseg.data.mask_rule import MaskRule
from sdseg.data.store import Case, SliceStore, structure_masks
from sdseg.metrics import overlap

__all__ = [
    "FREE",
    "CaseScore",
    "Predict",
    "SliceBatch",
    "by_case",
    "check_store",
    "evenly_spread",
    "may_have_seen",
    "named_structures",
    "predicted_by",
    "same_field",
    "score_cases",
    "slice_batches",
    "unlike_images",
]

Item = TypeVar("Item")
Values = npt.NDArray[Any]
# Raw images [N,H,W,C], labelled masks [N,K,H,W] -> predicted masks [N,K,H,W]. Only a codec looks at the labels.
Predict = Callable[[RawImages, MaskArray], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class CaseScore:
    """Dice and IoU of one case, per structure [K] and as their mean, with the pixel counts behind them."""

    case: Case
    pixels: overlap.Counts
    dice: npt.NDArray[np.float64]
    iou: npt.NDArray[np.float64]

    @property
    def mean_dice(self) -> float:
        return float(self.dice.mean())

    @property
    def mean_iou(self) -> float:
        return float(self.iou.mean())


def by_case(
    parts: Iterable[tuple[Sequence[str], tuple[Values, ...]]],
) -> Iterator[tuple[str, tuple[Values, ...]]]:
    """Whole cases, from batches of slices in a row: the case of each slice, and some arrays [N,…] of them."""
    current, slices = "", list[tuple[Values, ...]]()
    for names, arrays in parts:
        for index, name in enumerate(names):
            if slices and name != current:
                yield current, tuple(np.stack(one) for one in zip(*slices, strict=True))
                slices = []
            current = name
            slices.append(tuple(array[index] for array in arrays))
    if slices:
        yield current, tuple(np.stack(one) for one in zip(*slices, strict=True))


def predicted_by(probability: Callable[[RawImages], FloatArray], rule: MaskRule) -> Predict:
    """What `score_cases` wants, made from a backend's `probability`."""
    return lambda images, labelled: rule.masks(probability(images))


def score_cases(
    predict: Predict, store: SliceStore, cases: Sequence[Case], batch: int | None, rule: MaskRule | None = None
) -> Iterator[CaseScore]:
    """Score `cases` in order. Batches run over the borders of cases: single images are not computed one by one. With
    `batch` None each case is one.

    `rule` finishes the masks of every case that is whole; None: they are scored as `predict` gives them.
    """
    tally, by_name = overlap.Tally(), {case.case: case for case in cases}
    parts: Iterable[tuple[Sequence[str], tuple[MaskArray, ...]]] = (
        (part.cases, (predict(part.images, part.labelled), part.labelled))
        for part in slice_batches(store, cases, batch)
    )
    if rule is not None and rule.postprocesses:
        finish = rule.finish
        parts = (((name,) * len(mask), (finish(mask), label)) for name, (mask, label) in by_case(parts))
    for names, (predicted, labelled) in parts:
        tally.add(names, predicted, labelled)
        for name in dict.fromkeys(names):
            case, pixels = by_name[name], tally.counts[name]
            if tally.slices[name] == case.slices:  # the last of them is in
                yield CaseScore(case, pixels, overlap.dice(pixels), overlap.iou(pixels))


# Of the image contract, how the data of one training lay: others are still what the model wants.
FREE = ("dtype", "intensities", "channel_intensities", "spacing")


@dataclass(frozen=True)
class SliceBatch:
    """Slices of a store, ready for a backend. A batch may span cases, and a case may span batches."""

    cases: tuple[str, ...]  # the case of each of the N slices
    rows: tuple[int, ...]  # their rows in the store
    images: RawImages  # [N,H,W,C]
    labelled: MaskArray  # [N,K,H,W]


def slice_batches(store: SliceStore, cases: Sequence[Case], sizes: int | Sequence[int] | None) -> Iterator[SliceBatch]:
    """The slices of `cases` in batches of one size, or of sizes that go round; the last one is what remains.

    With `sizes` None every batch is a whole case.
    """
    if sizes is None:
        sizes = [case.slices for case in cases]
    sizes = (sizes,) if isinstance(sizes, int) else sizes
    slices = [(case.case, row) for case in cases for row in range(case.rows.start, case.rows.stop)]
    start = 0
    for size in cycle(sizes):
        if start >= len(slices):
            return
        names, rows = zip(*slices[start : start + size], strict=True)
        positions = list(rows)
        labelled = structure_masks(store.masks[positions], store.manifest.structures)
        yield SliceBatch(names, rows, store.images[positions], labelled)
        start += size


def evenly_spread(items: Sequence[Item], most: int | None) -> tuple[Item, ...]:
    """At most `most` of `items` (None: all), in even steps from the first on, the last among them where `most` > 1."""
    if most is None or most >= len(items):
        return tuple(items)
    return tuple(items[index] for index in np.linspace(0, len(items) - 1, most).astype(int))


def check_store(
    store: SliceStore, model: Path, image: ImageContract, structures: tuple[Structure, ...], split: str
) -> tuple[Case, ...]:
    """The cases of a split. Raises ListedError unless the store holds the images and labels the model was made for."""
    manifest = store.manifest
    problems = unlike_images(manifest.image, image)
    if manifest.structures != structures:
        own, wanted = named_structures(manifest.structures), named_structures(structures)
        problems.append(f"structures: the data have {own}, the model finds {wanted}")
    if problems:
        raise ListedError(
            f"the model {model} does not fit the prepared data:",
            problems,
            where=store.folder,
            remedy="name the prepared folder the model was trained on, or prepare the data with the same settings",
        )
    cases = store.cases_of(split)
    if not cases:
        raise UserError(
            f"the prepared data have no case in the split '{split}'",
            where=store.folder,
            remedy=f"choose another --split, or a split file with '{split}' cases and prepare again",
        )
    return cases


def may_have_seen(data: PreparedManifest, split: str, dataset: str, data_checksum: str | None) -> str | None:
    """Why a model, trained on `dataset` with that checksum, may know the cases of a split; None where nothing says so.

    Data that were prepared anew may be split anew.
    """
    if split == "train" or data_checksum in (None, data.data_checksum) or dataset != data.dataset:
        return None
    return (
        f"was trained on '{dataset}' prepared at another time (checksum {data_checksum[:12]}): cases of the split "
        f"'{split}' may have been among its training cases"
    )


def unlike_images(data: ImageContract, wanted: ImageContract) -> list[str]:
    """In what the images of the data are not those that a model wants, a line for each field of the contract."""
    return [
        f"{field}: the data have {_shown(getattr(data, field))}, the model wants {_shown(getattr(wanted, field))}"
        for field in ImageContract.model_fields
        if field not in FREE and not same_field(field, data, wanted)
    ]


def same_field(field: str, one: ImageContract, other: ImageContract) -> bool:
    """Whether two contracts agree in a field; of tiles how they overlap is inference's affair."""
    ours, theirs = getattr(one, field), getattr(other, field)
    if field == "tiles" and ours is not None and theirs is not None:
        return bool(ours.scale == theirs.scale)
    return bool(ours == theirs)


def named_structures(structures: Sequence[Structure]) -> str:
    """In words, with the label ids of each: 'disc (1+2), cup (2)'."""
    return ", ".join(f"{one.name} ({'+'.join(str(value) for value in one.values)})" for one in structures)


def _shown(value: object) -> str:
    return " to ".join(f"{bound:g}" for bound in value) if isinstance(value, tuple) else str(value)
