"""Which cases are worth a look, and their pictures, at the working size."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from sdseg.artifacts.results.studies import Volume
from sdseg.core.array_types import AnyArray, MaskArray, RawImages
from sdseg.core.files import atomic_file, write_json
from sdseg.data.shown_channel import shown_name, shown_of
from sdseg.data.store import Case, SliceStore, structure_masks
from sdseg.data.transforms import resize_images, resize_labels, to_display
from sdseg.evaluation.evaluator import ScoredCase
from sdseg.io.images import write_image
from sdseg.io.pictures import LABEL_COLOUR, PREDICTION_COLOUR, Outline, draw_outlines, outline_paths, pack_slices

__all__ = ["SliceMasks", "overlay", "ranked", "shrunk", "write_overlay", "write_pictures", "write_volumes"]

LONGEST = 180  # bytes
LARGEST = 2048  # pixels along a side of a picture
SliceMasks = Callable[[Case], Callable[[int], MaskArray]]  # of a case: number of a slice -> its masks [K,S,S]


def write_pictures(folder: Path, scores: Sequence[ScoredCase], store: SliceStore, slice_masks: SliceMasks) -> None:
    """Write `folder`/overlays/{best,median,worst}_<case>.png; of volumes also volumes/…{.webp,.json}."""
    by_rank = ranked(scores)
    for rank, score in by_rank.items():
        write_overlay(folder, rank, score.case.case, overlay(score, store, slice_masks))
    write_volumes(folder / "volumes", by_rank, store, slice_masks)


def write_overlay(folder: Path, rank: str, case: str, picture: RawImages) -> None:
    """Write the picture of a case as `folder`/overlays/<rank>_<case>.png."""
    write_image(folder / "overlays" / f"{rank}_{_in_a_file(case)}.png", picture)


def ranked(scores: Sequence[ScoredCase]) -> dict[str, ScoredCase]:
    """Best, median and worst case by Dice, among those with something to see: a label or a prediction."""
    visible = [one for one in scores if one.headline.pixels.predicted.any() or one.headline.pixels.labelled.any()]
    ordered = sorted(visible or scores, key=lambda score: score.headline.whole["dice"].value)
    return {"best": ordered[-1], "median": ordered[len(ordered) // 2], "worst": ordered[0]}


def overlay(score: ScoredCase, store: SliceStore, slice_masks: SliceMasks) -> RawImages:
    """The case's slice with the largest label (without any: the largest prediction), with both outlines."""
    case, predicted = score.case, slice_masks(score.case)
    labelled = structure_masks(store.masks[case.rows], store.manifest.structures)  # [Z,K,H,W]
    areas = labelled.sum(axis=(1, 2, 3))
    if not areas.any():
        areas = np.array([predicted(index).sum() for index in range(case.slices)])
    index, image = int(areas.argmax()), store.manifest.image
    dice = f"Dice {score.headline.whole['dice'].value:.3f}"
    note = dice + (f"   slice {index + 1} of {case.slices}" if case.slices > 1 else "")
    note += f"   {shown_name(image)}".rstrip()
    shown = to_display(shown_of(store.slices[case.start + index], image), image.window)
    picture, label, prediction = shrunk(shown, labelled[index], predicted(index))
    return draw_outlines(
        picture,
        (
            Outline("label", label, LABEL_COLOUR, width=6),
            Outline("prediction", prediction, PREDICTION_COLOUR, width=2),
        ),
        note,
    )


def shrunk(image: RawImages, *masks: MaskArray) -> tuple[AnyArray, ...]:
    """An image [H,W,3] and masks [K,H,W] of it, no side longer than a picture's may be."""
    height, width, _ = image.shape
    factor = LARGEST / max(height, width)
    if factor >= 1:
        return image, *masks
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    smaller = (resize_labels(mask.astype(np.uint8), size).astype(np.bool_) for mask in masks)
    return resize_images(image[None], size)[0], *smaller


def write_volumes(folder: Path, by_rank: Mapping[str, ScoredCase], store: SliceStore, slice_masks: SliceMasks) -> None:
    """Write `folder`/<rank>.webp and <rank>.json of every volume in `shown`, each once, for scrolling in the page."""
    done = set()
    for rank, score in by_rank.items():
        if score.case.slices > 1 and score.case.case not in done:
            done.add(score.case.case)
            _write_volume(folder, rank, score, store, slice_masks)


def _in_a_file(case: str) -> str:
    """A case's name as part of a file's: it may hold a slash, or be longer than a file's may be (255 bytes)."""
    plain = re.sub(r'[\\/:*?"<>|\x00-\x1f]+', "_", case)
    return plain.encode(errors="replace")[:LONGEST].decode(errors="ignore")


def _write_volume(folder: Path, rank: str, score: ScoredCase, store: SliceStore, slice_masks: SliceMasks) -> None:
    case, manifest = score.case, store.manifest
    labelled = structure_masks(store.masks[case.rows], manifest.structures)  # [Z,K,H,W]
    predicted = slice_masks(case)
    images = shown_of(store.slices[case.rows], manifest.image)
    sprite = pack_slices(np.stack([to_display(image, manifest.image.window) for image in images]))
    with atomic_file(folder / f"{rank}.webp") as temporary:
        temporary.write_bytes(sprite.webp)
    volume = Volume(
        case=case.case,
        rank=rank,
        dice=score.headline.whole["dice"].value,
        size=manifest.image.size,
        slices=case.slices,
        columns=sprite.columns,
        tile=sprite.tile,
        channel=shown_name(manifest.image),
        first=int(labelled.sum(axis=(1, 2, 3)).argmax()),
        label=tuple(outline_paths(masks) for masks in labelled),
        prediction=tuple(outline_paths(predicted(index)) for index in range(case.slices)),
    )
    write_json(folder / f"{rank}.json", volume.content())
