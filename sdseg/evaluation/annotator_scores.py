"""The hypotheses of a model against every annotator of a case, at the working size, while a store is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import FloatArray, MaskArray, RawImages
from sdseg.data.batches import SliceBatch
from sdseg.data.mask_rule import MaskRule
from sdseg.data.store import Case, SliceStore, structure_masks
from sdseg.metrics.annotators import PairwiseOverlap, score_hypotheses
from sdseg.metrics.overlap import Score

__all__ = ["AnnotatedCase", "AnnotatorScorer", "Hypotheses"]

Hypotheses = Callable[[RawImages], FloatArray]  # raw images [N,H,W,C] -> [N,S,K,H,W] in [0,1]


@dataclass(frozen=True)
class AnnotatedCase:
    """One case: the metrics of metrics/annotators.py, each the mean over its structures."""

    case: Case
    hypotheses: int
    scores: dict[str, Score]
    dice_by_annotator: dict[str, float]  # of those who drew the case: mean over hypotheses and structures


class AnnotatorScorer:
    """Takes batches of slices, as `slice_batches` gives them, and scores each case that is complete.

    `whole_cases`: the model is three-dimensional, and takes the images it is given for a whole volume.
    """

    def __init__(self, hypotheses: Hypotheses, store: SliceStore, rule: MaskRule, *, whole_cases: bool = False) -> None:
        self.cases: list[AnnotatedCase] = []  # in the order in which they were complete
        self._hypotheses, self._store, self._rule, self._whole_cases = hypotheses, store, rule, whole_cases
        self._by_name = {case.case: case for case in store.cases}
        self._pending: dict[str, list[npt.NDArray[np.uint8]]] = {}  # of each slice masks [S,K,H,W], columns packed

    def probability(self, part: SliceBatch) -> FloatArray:
        """The mean over the hypotheses of a batch, [N,K,H,W]; the hypotheses are kept until their case is complete."""
        hypotheses = self._hypotheses(part.images)  # [N,S,K,H,W]
        for name, of_slice in zip(part.cases, hypotheses, strict=True):
            slices = self._pending.setdefault(name, [])
            slices.append(np.packbits(self._rule.masks(of_slice), axis=-1))
            if len(slices) == self._by_name[name].slices:
                self.cases.append(self._score(self._by_name[name], self._pending.pop(name)))
        return np.asarray(hypotheses.mean(axis=1), dtype=np.float32)

    def masks_of(self, case: Case, index: int) -> MaskArray:
        """The masks of every hypothesis of slice `index` of a case, [S,K,H,W], as they are before post-processing."""
        row = case.start + index
        if self._whole_cases:
            return self._rule.masks(self._hypotheses(self._store.images[case.rows])[index])
        return self._rule.masks(self._hypotheses(self._store.images[row : row + 1])[0])

    def _score(self, case: Case, packed: list[npt.NDArray[np.uint8]]) -> AnnotatedCase:
        structures = self._store.manifest.structures
        _, columns = self._store.manifest.image.working_size(case.height, case.width)
        masks = np.unpackbits(np.stack(packed, axis=1), axis=-1, count=columns).view(np.bool_)  # [S,Z,K,H,W]
        hypotheses = np.stack([self._rule.finish(one) for one in masks])
        names = [name for name, _ in case.labels]
        annotated = np.stack([self._drawn_by(name, case) for name in names])  # [A,Z,K,H,W]
        majority = structure_masks(self._store.masks[case.rows], structures)  # [Z,K,H,W]
        pairs = [
            PairwiseOverlap(hypotheses[:, :, index], annotated[:, :, index], majority[:, index])
            for index in range(len(structures))
        ]
        by_annotator = {
            name: float(np.mean([one.dice_of_annotator(number) for one in pairs])) for number, name in enumerate(names)
        }
        return AnnotatedCase(case, len(hypotheses), score_hypotheses(pairs), by_annotator)

    def _drawn_by(self, name: str, case: Case) -> MaskArray:
        return structure_masks(self._store.drawn_by(name, case.rows), self._store.manifest.structures)
