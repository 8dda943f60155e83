"""Joint of evaluation: any backend over the cases of a store, every score of each at working and at native size.

One case at a time is held, its masks as bits; batches run over the borders of cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt

from sdseg import metrics
from sdseg.artifacts import PreparedManifest
from sdseg.calibration import THRESHOLDS, Calibration, ThresholdCounts
from sdseg.data.labels import NativeLabels
from sdseg.data.slices import restore_probability
from sdseg.data.store import Case, SliceStore, structure_masks
from sdseg.metrics import Score
from sdseg.serving import slice_batches
from sdseg.surfaces import hausdorff, surface_dice, surface_distances
from sdseg.tensors import FloatArray, LabelArray, MaskArray, RawImages

__all__ = ["METRICS", "Assessed", "Assessment", "Probability", "Rules", "Sized", "dice_by_threshold"]

METRICS = ("dice", "iou", "precision", "recall", "hd95", "nsd")
CUP_TO_DISC = "cup_to_disc_error"
NO_SPACING = "no spacing: the size of a pixel in millimetres is not known"
Probability = Callable[[RawImages], FloatArray]  # raw images [N,H,W,C] -> [N,K,H,W] in [0,1]


@dataclass(frozen=True)
class Rules:
    """What the masks and their scores are made with."""

    threshold: float  # a probability above it belongs to the structure
    tolerance: float  # of NSD, in mm


@dataclass(frozen=True)
class Sized:
    """Every score of one case at one size."""

    pixels: metrics.Counts
    structures: Mapping[str, Mapping[str, Score]]  # structure -> metric -> score
    whole: Mapping[str, Score]  # metric -> mean over structures; cup-to-disc error where there are disc and cup


@dataclass(frozen=True)
class Assessed:
    """One case: native scores where there are native labels."""

    case: Case
    working: Sized
    native: Sized | None
    dice_official: float  # at the working size, mean over structures

    @property
    def headline(self) -> Sized:
        return self.native or self.working


@dataclass(frozen=True)
class Assessment:
    """A backend on a store, ready to be scored case by case."""

    probability: Probability
    store: SliceStore
    rules: Rules
    native: NativeLabels | None = None
    calibration: Calibration | None = None  # filled on the way

    def run(self, cases: Sequence[Case], batch: int) -> Iterator[Assessed]:
        """Score `cases` in order."""
        by_name = {case.case: case for case in cases}
        pending: _Pending | None = None
        for part in slice_batches(self.store, cases, (batch,)):
            probability = self.probability(part.images)  # [N,K,S,S]
            if self.calibration is not None:
                self.calibration.add(probability, part.labelled)
            for name, found in zip(part.cases, probability, strict=True):
                if pending is None or pending.case.case != name:
                    if pending is not None:
                        yield self._finish(pending)
                    pending = _Pending(by_name[name], [], [])
                pending.put(found, self.rules.threshold, native=self.native is not None)
        if pending is not None:
            yield self._finish(pending)

    def _finish(self, pending: _Pending) -> Assessed:
        case, size = pending.case, self.store.manifest.image.size
        stretched = (1.0, case.height / size, case.width / size)  # a working pixel in native ones, Z, rows, columns
        spacing = case.spacing[::-1]  # of native pixels along Z, rows, columns
        at_work = tuple(one * factor for one, factor in zip(spacing, stretched, strict=True)) if spacing else ()
        working = self._score(pending.working, self.store.masks[case.rows], at_work)
        native = None if self.native is None else self._score(pending.native, self.native.read(case), spacing)
        return Assessed(case, working, native, float(metrics.dice_official(working.pixels).mean()))

    def _score(self, packed: Sequence[_Bits], labels: LabelArray, spacing: tuple[float, ...]) -> Sized:
        scores: dict[str, dict[str, Score]] = {}
        pixels = []
        kept: dict[str, tuple[MaskArray, MaskArray]] = {}  # disc and cup of an image
        for index, structure in enumerate(self.store.manifest.structures):
            predicted = np.stack([_unpacked(slice_[index], labels.shape[2]) for slice_ in packed])  # [Z,H,W]
            labelled = structure_masks(labels, (structure,))[:, 0]
            counted = metrics.counts(predicted[:, None], labelled[:, None])
            pixels.append(counted)
            scores[structure.name] = _overlaps(counted) | _distances(predicted, labelled, spacing, self.rules.tolerance)
            if _has_disc_and_cup(self.store.manifest):
                kept[structure.name] = (predicted[0], labelled[0])
        whole = {metric: metrics.mean_score([found[metric] for found in scores.values()]) for metric in METRICS}
        if kept:
            (disc, true_disc), (cup, true_cup) = kept["disc"], kept["cup"]
            whole[CUP_TO_DISC] = metrics.cup_to_disc_error((disc, cup), (true_disc, true_cup))
        return Sized(_joined(pixels), scores, whole)


def dice_by_threshold(
    probability: Probability, store: SliceStore, cases: Sequence[Case], batch: int
) -> npt.NDArray[np.float64]:
    """Mean Dice over cases at the working size, for each of `THRESHOLDS`."""
    found: dict[str, ThresholdCounts] = {}
    for part in slice_batches(store, cases, (batch,)):
        values = probability(part.images)
        for index, name in enumerate(part.cases):
            counted = found.setdefault(name, ThresholdCounts(len(store.manifest.structures)))
            counted.add(values[index : index + 1], part.labelled[index : index + 1])
    dice = np.stack([counted.dice() for counted in found.values()])  # [cases,T]
    return np.asarray(dice.mean(axis=0)).reshape(len(THRESHOLDS))


_Bits = npt.NDArray[np.uint8]  # masks [K,H,W], eight columns to a byte


@dataclass
class _Pending:
    """The masks of a case that is not complete yet."""

    case: Case
    working: list[_Bits]
    native: list[_Bits]

    def put(self, probability: FloatArray, threshold: float, *, native: bool) -> None:
        """Take one slice, [K,S,S]; it is enlarged before the threshold is applied, as `predict` does."""
        self.working.append(np.packbits(probability > threshold, axis=-1))
        if native:
            enlarged = restore_probability(probability, (self.case.height, self.case.width))  # [K,H,W]
            self.native.append(np.packbits(enlarged > threshold, axis=-1))


def _unpacked(bits: _Bits, width: int) -> MaskArray:
    return np.unpackbits(bits, axis=-1, count=width).view(np.bool_)


def _overlaps(counted: metrics.Counts) -> dict[str, Score]:
    precision, recall = float(metrics.precision(counted)[0]), float(metrics.recall(counted)[0])
    return {
        "dice": Score(float(metrics.dice(counted)[0])),
        "iou": Score(float(metrics.iou(counted)[0])),
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


def _joined(pixels: Sequence[metrics.Counts]) -> metrics.Counts:
    return metrics.Counts(
        *(np.concatenate([getattr(one, name) for one in pixels]) for name in ("predicted", "labelled", "both"))
    )
