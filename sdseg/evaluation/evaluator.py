"""Every case of a store with its scores, from any backend or from masks made elsewhere.

One case at a time is held, the masks of a backend as bits; batches run over the borders of cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import FloatArray, LabelArray, MaskArray, RawImages
from sdseg.data.batches import slice_batches
from sdseg.data.fit import SliceFit, fit_of
from sdseg.data.mask_rule import MaskRule
from sdseg.data.native_labels import NativeLabels
from sdseg.data.slicing import along_slices
from sdseg.data.store import Case, SliceStore
from sdseg.evaluation.annotator_scores import AnnotatorScorer
from sdseg.evaluation.case_scores import SizeScores, not_scored, score_masks
from sdseg.metrics import overlap
from sdseg.metrics.calibration import THRESHOLDS, Calibration, ThresholdCounts
from sdseg.metrics.overlap import Score

__all__ = ["Evaluator", "Probability", "ScoredCase", "ScoringRules", "dice_by_threshold", "score_given_masks"]

Probability = Callable[[RawImages], FloatArray]  # raw images [N,H,W,C] -> [N,K,H,W] in [0,1]


@dataclass(frozen=True)
class ScoringRules:
    """What the masks and their scores are made with."""

    masks: MaskRule  # of a model's probabilities
    tolerance: float  # of NSD, in mm


@dataclass(frozen=True)
class ScoredCase:
    """One case: native scores where there are native labels."""

    case: Case
    working: SizeScores
    native: SizeScores | None
    dice_official: Score  # at the working size, mean over structures

    @property
    def headline(self) -> SizeScores:
        return self.native or self.working


@dataclass(frozen=True)
class Evaluator:
    """A backend on a store, ready to be scored case by case."""

    probability: Probability
    store: SliceStore
    rules: ScoringRules
    native: NativeLabels | None = None
    calibration: Calibration | None = None  # filled on the way
    annotators: AnnotatorScorer | None = None  # filled on the way; then it gives the probability, from hypotheses

    def run(self, cases: Sequence[Case], batch: int | None) -> Iterator[ScoredCase]:
        """Score `cases` in order, `batch` slices at a time; None: the slices of a case."""
        by_name = {case.case: case for case in cases}
        pending: dict[str, _IncompleteCase] = {}
        for part in slice_batches(self.store, cases, batch):
            scorer = self.annotators
            probability = self.probability(part.images) if scorer is None else scorer.probability(part)  # [N,K,S,S]
            if self.calibration is not None:
                self.calibration.add(probability, part.labelled)
            for name, of_slice in zip(part.cases, probability, strict=True):
                masks = pending.setdefault(name, _IncompleteCase(by_name[name], self._fit(by_name[name]), [], []))
                masks.put(of_slice, self.rules.masks, native=self.native is not None)
                if len(masks.working) == masks.case.slices:
                    yield self._finish(pending.pop(name))

    def _finish(self, pending: _IncompleteCase) -> ScoredCase:
        case, image = pending.case, self.store.manifest.image
        scale = (1.0, *pending.fit.pixel)  # native pixels in a working one
        spacing = along_slices(case.spacing, image.slicing)  # of native pixels, as `scale`
        working_spacing = tuple(one * factor for one, factor in zip(spacing, scale, strict=True)) if spacing else ()
        working = self._score(
            _Packed(pending.working, pending.fit.working[1]), self.store.masks[case.rows], working_spacing
        )
        native = None
        if self.native is not None:
            native = self._score(_Packed(pending.native, case.width), self.native.read(case), spacing)
        return ScoredCase(case, working, native, Score(float(overlap.dice_official(working.pixels).mean())))

    def _fit(self, case: Case) -> SliceFit:
        return fit_of(self.store.manifest.image, (case.height, case.width), case.spacing)

    def _score(self, packed: _Packed, labels: LabelArray, spacing: tuple[float, ...]) -> SizeScores:
        manifest = self.store.manifest
        self.rules.masks.finish_in_place(packed, len(manifest.structures))
        predicted = (packed.mask(number) for number in range(len(manifest.structures)))
        return score_masks(predicted, labels, manifest, spacing, self.rules.tolerance)


def score_given_masks(
    masks: Callable[[Case], Iterable[MaskArray]],
    cases: Sequence[Case],
    native: NativeLabels,
    tolerance: float,
    reason: str,
) -> Iterator[ScoredCase]:
    """Score masks at the native size, case by case.

    `masks` gives one mask [Z,H,W] per structure; `tolerance` is that of NSD, in mm; `reason` says why there is no
    score at the working size.
    """
    manifest = native.store.manifest
    for case in cases:
        scored = score_masks(
            masks(case), native.read(case), manifest, along_slices(case.spacing, manifest.image.slicing), tolerance
        )
        yield ScoredCase(case, not_scored(manifest, reason), scored, Score(nan, reason))


def dice_by_threshold(
    probability: Probability, store: SliceStore, cases: Sequence[Case], batch: int | None, *, exclusive: bool = False
) -> npt.NDArray[np.float64]:
    """Mean Dice over cases at the working size, for each of `THRESHOLDS`."""
    rule = MaskRule(exclusive=exclusive)
    by_case: dict[str, ThresholdCounts] = {}
    for part in slice_batches(store, cases, batch):
        values = rule.contenders(probability(part.images))  # what exceeds a threshold is the mask at it
        for index, name in enumerate(part.cases):
            threshold_counts = by_case.setdefault(name, ThresholdCounts(len(store.manifest.structures)))
            threshold_counts.add(values[index : index + 1], part.labelled[index : index + 1])
    dice = np.stack([threshold_counts.dice() for threshold_counts in by_case.values()])  # [cases,T]
    return np.asarray(dice.mean(axis=0)).reshape(len(THRESHOLDS))


_Bits = npt.NDArray[np.uint8]  # masks [K,H,W], eight columns to a byte


@dataclass
class _IncompleteCase:
    """The masks of a case that is not complete yet."""

    case: Case
    fit: SliceFit
    working: list[_Bits]
    native: list[_Bits]

    def put(self, probability: FloatArray, rule: MaskRule, *, native: bool) -> None:
        """Take one slice, [K,S,S]; it is enlarged before the rule is applied, as `predict` does."""
        self.working.append(np.packbits(rule.masks(probability), axis=-1))
        if native:
            enlarged = self.fit.restore(probability)  # [K,H,W]
            self.native.append(np.packbits(rule.masks(enlarged), axis=-1))


@dataclass(frozen=True)
class _Packed:
    """The masks of a whole case, as `CaseMasks` wants them."""

    slices: Sequence[_Bits]
    width: int

    def mask(self, number: int) -> MaskArray:
        packed = np.stack([bits[number] for bits in self.slices])
        return np.unpackbits(packed, axis=-1, count=self.width).view(np.bool_)  # [Z,H,W]

    def replace(self, number: int, mask: MaskArray) -> None:
        for bits, own in zip(self.slices, mask, strict=True):
            bits[number] = np.packbits(own, axis=-1)
