"""Every score of one case at one size, from its masks and its labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import nan

import numpy as np

from sdseg.artifacts.manifests import PreparedManifest
from sdseg.core.array_types import LabelArray, MaskArray
from sdseg.data.store import structure_masks
from sdseg.metrics import overlap
from sdseg.metrics.overlap import Score
from sdseg.metrics.surface import hausdorff, surface_dice, surface_distances

__all__ = ["METRICS", "Sized", "not_scored", "score_masks"]

METRICS = ("dice", "iou", "precision", "recall", "hd95", "nsd")
CUP_TO_DISC = "cup_to_disc_error"
NO_SPACING = "no spacing: the size of a pixel in millimetres is not known"


@dataclass(frozen=True)
class Sized:
    """Every score of one case at one size."""

    pixels: overlap.Counts
    structures: Mapping[str, Mapping[str, Score]]  # structure -> metric -> score
    whole: Mapping[str, Score]  # metric -> mean over structures; cup-to-disc error where there are disc and cup


def score_masks(
    predicted: Iterable[MaskArray],
    labels: LabelArray,
    held: PreparedManifest,
    spacing: tuple[float, ...],
    tolerance: float,
) -> Sized:
    """Score one case.

    Parameters
    ----------
    predicted: one mask [Z,H,W] per structure of `held`, in its order; taken one after the other.
    labels: label ids [Z,H,W].
    spacing: mm along Z, rows and columns; empty where it is not known.
    tolerance: of NSD, in mm.
    """
    scores: dict[str, dict[str, Score]] = {}
    pixels = []
    kept: dict[str, tuple[MaskArray, MaskArray]] = {}  # disc and cup of an image
    for structure, found in zip(held.structures, predicted, strict=True):
        labelled = structure_masks(labels, (structure,))[:, 0]
        counted = overlap.counts(found[:, None], labelled[:, None])
        pixels.append(counted)
        scores[structure.name] = _overlaps(counted) | _distances(found, labelled, spacing, tolerance)
        if _has_disc_and_cup(held):
            kept[structure.name] = (found[0], labelled[0])
    whole = {metric: overlap.mean_score([each[metric] for each in scores.values()]) for metric in METRICS}
    if kept:
        (disc, true_disc), (cup, true_cup) = kept["disc"], kept["cup"]
        whole[CUP_TO_DISC] = overlap.cup_to_disc_error((disc, cup), (true_disc, true_cup))
    return Sized(_joined(pixels), scores, whole)


def not_scored(held: PreparedManifest, reason: str) -> Sized:
    """The same scores, none of them defined, for one `reason`."""
    nothing = np.zeros(len(held.structures), dtype=np.int64)
    undefined = Score(nan, reason)
    return Sized(
        overlap.Counts(nothing, nothing, nothing),
        {structure.name: dict.fromkeys(METRICS, undefined) for structure in held.structures},
        dict.fromkeys((*METRICS, CUP_TO_DISC) if _has_disc_and_cup(held) else METRICS, undefined),
    )


def _overlaps(counted: overlap.Counts) -> dict[str, Score]:
    precision, recall = float(overlap.precision(counted)[0]), float(overlap.recall(counted)[0])
    return {
        "dice": Score(float(overlap.dice(counted)[0])),
        "iou": Score(float(overlap.iou(counted)[0])),
        "precision": Score(precision, "nothing predicted" if np.isnan(precision) else ""),
        "recall": Score(recall, "nothing labelled" if np.isnan(recall) else ""),
    }


def _distances(
    predicted: MaskArray, labelled: MaskArray, spacing: tuple[float, ...], tolerance: float
) -> dict[str, Score]:
    """HD95 and NSD of masks [Z,H,W]."""
    some = predicted.any(), labelled.any()
    if not spacing:
        return dict.fromkeys(("hd95", "nsd"), Score(nan, NO_SPACING))
    if not any(some):
        return dict.fromkeys(("hd95", "nsd"), Score(nan, "both masks empty"))
    if not all(some):
        return {"hd95": Score(nan, "nothing predicted" if some[1] else "nothing labelled"), "nsd": Score(0.0)}
    found = surface_distances(predicted, labelled, spacing)
    return {"hd95": Score(hausdorff(found)), "nsd": Score(surface_dice(found, tolerance))}


def _has_disc_and_cup(held: PreparedManifest) -> bool:
    return held.image.modality == "rgb" and {"disc", "cup"} <= {structure.name for structure in held.structures}


def _joined(pixels: Iterable[overlap.Counts]) -> overlap.Counts:
    parts = list(pixels)
    return overlap.Counts(
        *(np.concatenate([getattr(one, name) for one in parts]) for name in ("predicted", "labelled", "both"))
    )
