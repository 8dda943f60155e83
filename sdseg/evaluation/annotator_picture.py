"""One case as its annotators drew it, above the hypotheses of a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sdseg.core.array_types import MaskArray, RawImages
from sdseg.data.shown_channel import shown_of
from sdseg.data.store import Case, SliceStore, structure_masks
from sdseg.data.transforms import to_display
from sdseg.evaluation.annotator_scores import AnnotatedCase, AnnotatorScorer
from sdseg.evaluation.pictures import shrunk
from sdseg.io.pictures import LABEL_COLOUR, PREDICTION_COLOUR, Outline, draw_outlines

__all__ = ["draw_annotators", "usual_case"]

TILE, MOST = 256, 4  # smallest side of a tile in pixels; tiles in a row


def usual_case(cases: Sequence[AnnotatedCase]) -> Case:
    """The case with the median energy distance, among those in which the annotators disagree."""
    disputed = [one for one in cases if one.scores["disagreement"].value > 0] or list(cases)
    ordered = sorted(disputed, key=lambda one: one.scores["energy_distance"].value)
    return ordered[len(ordered) // 2].case


def draw_annotators(scorer: AnnotatorScorer, store: SliceStore, case: Case) -> RawImages:
    """RGB [H,W,3]: the slice on which they drew most, the first annotators above, the first hypotheses below."""
    manifest, names = store.manifest, [name for name, _ in case.labels][:MOST]
    drawn = np.stack([structure_masks(store.drawn_by(name, case.rows), manifest.structures) for name in names])
    index = int(drawn.sum(axis=(0, 2, 3, 4)).argmax())
    image = to_display(shown_of(store.slices[case.start + index], manifest.image), manifest.image.window)
    hypotheses = scorer.masks_of(case, index)[:MOST]  # [S,K,H,W]
    rows = (
        [_tile(image, name, masks, label=True) for name, masks in zip(names, drawn[:, index], strict=True)],
        [_tile(image, f"hypothesis {one + 1}", masks, label=False) for one, masks in enumerate(hypotheses)],
    )
    columns = max(map(len, rows))
    height = max(tile.shape[0] for tiles in rows for tile in tiles)
    return np.concatenate([_in_a_row(tiles, columns, height) for tiles in rows])


def _tile(image: RawImages, name: str, masks: MaskArray, *, label: bool) -> RawImages:
    colour = LABEL_COLOUR if label else PREDICTION_COLOUR
    smaller, outlined = shrunk(image, masks)
    return draw_outlines(smaller, (Outline(name, outlined, colour, width=2),), smallest=TILE)


def _in_a_row(tiles: Sequence[RawImages], columns: int, height: int) -> RawImages:
    """Tiles beside each other, [height, columns · width, 3], with dark ones where there are too few."""
    dark = np.full((height, tiles[0].shape[1], 3), 24, dtype=np.uint8)
    cells = [dark.copy() for _ in range(columns)]
    for cell, tile in zip(cells, tiles, strict=False):
        cell[: tile.shape[0]] = tile
    return np.concatenate(cells, axis=1)
