"""Every score of one case at one size, from its masks and its labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import nan

import numpy as np

from sdseg.artifacts.manifests import PreparedManifest
from sdseg.core.array_types import LabelArray, MaskArray
from sdseg.data.store import structure_masks
from sdseg.metrics import overlap
from sdseg.metrics.overlap import Score
from sdseg.metrics.surface import SurfaceDistances, hausdorff, surface_dice, surface_distances

__all__ = ["METRICS", "MaskPair", "SizeScores", "not_scored", "score_masks"]

CUP_TO_DISC = "cup_to_disc_error"
NO_SPACING = "no spacing: the size of a pixel in millimetres is not known"


@dataclass(frozen=True)
class MaskPair:
    """One structure of one case, as predicted and as labelled; what several metrics need is computed once."""

    predicted: MaskArray  # [Z,H,W]
    labelled: MaskArray  # [Z,H,W]
    spacing: tuple[float, ...]  # mm along Z, rows and columns; empty where it is not known
    tolerance: float  # of NSD, in mm

    @cached_property
    def pixels(self) -> overlap.Counts:
        """Numbers of pixels, [1]."""
        return overlap.counts(self.predicted[:, None], self.labelled[:, None])

    @property
    def missing(self) -> str:
        """Which of the two masks is empty, in words; nothing where neither is."""
        predicted, labelled = self.pixels.predicted[0] > 0, self.pixels.labelled[0] > 0
        if not (predicted or labelled):
            return "both masks empty"
        return "" if predicted and labelled else "nothing labelled" if predicted else "nothing predicted"

    @cached_property
    def distances(self) -> SurfaceDistances:
        """Between the surfaces, in mm; of masks with a spacing of which neither is empty."""
        return surface_distances(self.predicted, self.labelled, self.spacing)


def _hd95(pair: MaskPair) -> Score:
    reason = pair.missing if pair.spacing else NO_SPACING
    return Score(nan, reason) if reason else Score(hausdorff(pair.distances))


def _nsd(pair: MaskPair) -> Score:
    if not pair.spacing or pair.missing == "both masks empty":
        return _hd95(pair)
    return Score(0.0 if pair.missing else surface_dice(pair.distances, pair.tolerance))


def _share(value: float, where_undefined: str = "") -> Score:
    return Score(value, where_undefined if np.isnan(value) else "")


# Every score of a structure: a column of cases.csv and a key of summary.json each, in this order.
METRICS: dict[str, Callable[[MaskPair], Score]] = {
    "dice": lambda pair: _share(float(overlap.dice(pair.pixels)[0])),
    "iou": lambda pair: _share(float(overlap.iou(pair.pixels)[0])),
    "precision": lambda pair: _share(float(overlap.precision(pair.pixels)[0]), "nothing predicted"),
    "recall": lambda pair: _share(float(overlap.recall(pair.pixels)[0]), "nothing labelled"),
    "hd95": _hd95,
    "nsd": _nsd,
}


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
        scores[structure.name] = {name: score(pair) for name, score in METRICS.items()}
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
