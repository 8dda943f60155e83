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
from sdseg.metrics.metric_table import METRICS, MaskPair
from sdseg.metrics.overlap import Score

__all__ = ["SizeScores", "not_scored", "score_masks"]

CUP_TO_DISC = "cup_to_disc_error"


@dataclass(frozen=True)
class SizeScores:
    """Every score of one case at one size."""

    pixels: overlap.Counts
    structures: Mapping[str, Mapping[str, Score]]  # structure -> metric -> score
    whole: Mapping[str, Score]  # metric -> mean over structures; cup-to-disc error where there are disc and cup


def score_masks(
    predicted: Iterable[MaskArray],
    labels: LabelArray,
    manifest: PreparedManifest,
    spacing: tuple[float, ...],
    tolerance: float,
) -> SizeScores:
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
    disc_and_cup: dict[str, tuple[MaskArray, MaskArray]] = {}  # disc and cup of an image
    for structure, mask in zip(manifest.structures, predicted, strict=True):
        labelled = structure_masks(labels, (structure,))[:, 0]
        pair = MaskPair(mask, labelled, spacing, tolerance)
        pixels.append(pair.pixels)
        scores[structure.name] = {name: metric.score(pair) for name, metric in METRICS.items()}
        if _has_disc_and_cup(manifest):
            disc_and_cup[structure.name] = (mask[0], labelled[0])
    whole = {metric: overlap.mean_score([each[metric] for each in scores.values()]) for metric in METRICS}
    if disc_and_cup:
        (disc, true_disc), (cup, true_cup) = disc_and_cup["disc"], disc_and_cup["cup"]
        whole[CUP_TO_DISC] = overlap.cup_to_disc_error((disc, cup), (true_disc, true_cup))
    return SizeScores(_joined(pixels), scores, whole)


def not_scored(manifest: PreparedManifest, reason: str) -> SizeScores:
    """The same scores, none of them defined, for one `reason`."""
    nothing = np.zeros(len(manifest.structures), dtype=np.int64)
    undefined = Score(nan, reason)
    return SizeScores(
        overlap.Counts(nothing, nothing, nothing),
        {structure.name: dict.fromkeys(METRICS, undefined) for structure in manifest.structures},
        dict.fromkeys((*METRICS, CUP_TO_DISC) if _has_disc_and_cup(manifest) else METRICS, undefined),
    )


def _has_disc_and_cup(manifest: PreparedManifest) -> bool:
    return manifest.image.modality == "rgb" and {"disc", "cup"} <= {structure.name for structure in manifest.structures}


def _joined(pixels: Iterable[overlap.Counts]) -> overlap.Counts:
    parts = list(pixels)
    return overlap.Counts(
        *(np.concatenate([getattr(one, name) for one in parts]) for name in ("predicted", "labelled", "both"))
    )
