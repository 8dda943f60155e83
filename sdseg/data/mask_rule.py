"""From probabilities to masks: the one definition that training, evaluation, parity, studies and predict share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from sdseg.artifacts.manifests import GraphManifest, ModelManifest
from sdseg.core.array_types import FloatArray, MaskArray
from sdseg.data.postprocessing import CaseMasks, StackedMasks, postprocess

__all__ = ["MaskRule"]


@dataclass(frozen=True)
class MaskRule:
    """A threshold, whether structures exclude each other, and what is mended in the masks of a whole case.

    A pixel belongs to a structure whose probability lies above `threshold`. With `exclusive` it belongs to one at most:
    that of the highest probability, among equals the first. Where probabilities are resized, the rule comes last.

    Arrays have the structures on the third axis from the end: [K,H,W] or [N,K,H,W].
    """

    threshold: float = 0.5
    exclusive: bool = False
    largest_component: bool = False  # of every structure the largest connected part alone
    fill_holes: bool = False

    @classmethod
    def of(cls, manifest: ModelManifest | GraphManifest) -> Self:
        """The rule that a model was made with."""
        postprocessing = manifest.postprocessing
        return cls(manifest.threshold, manifest.exclusive, postprocessing.largest_component, postprocessing.fill_holes)

    @property
    def postprocesses(self) -> bool:
        """Whether masks change once their whole case is there; probabilities never do."""
        return self.largest_component or self.fill_holes

    def masks(self, probability: FloatArray) -> MaskArray:
        """Bool masks of the same shape; with `exclusive` no two structures share a pixel."""
        return np.asarray(self.contenders(probability) > self.threshold, dtype=np.bool_)

    def finish(self, masks: MaskArray) -> MaskArray:
        """The masks [Z,K,H,W] of one whole image (Z = 1) or volume after post-processing. UserError for numbers."""
        if not self.postprocesses:
            return masks
        stacked = StackedMasks(masks.copy())
        self.finish_in_place(stacked, masks.shape[1])
        return stacked.array

    def finish_in_place(self, masks: CaseMasks, structures: int) -> None:
        """The same on masks that lie in little memory."""
        if self.postprocesses:
            postprocess(
                masks, structures, largest=self.largest_component, holes=self.fill_holes, exclusive=self.exclusive
            )

    def contenders(self, probability: FloatArray) -> FloatArray:
        """The probability where its structure may claim the pixel, −∞ where another one excludes it.

        What lies above any threshold here is the mask at that threshold.
        """
        if not self._contested(probability):
            return probability
        winner = probability.argmax(axis=-3, keepdims=True)  # the first among equals
        numbers = np.arange(probability.shape[-3]).reshape(-1, 1, 1)
        return np.where(winner == numbers, probability, np.float32(-np.inf)).astype(np.float32, copy=False)

    def certain(self, probability: FloatArray, tolerance: float) -> MaskArray:
        """The part of the masks that stays, whatever changes the probabilities by up to `tolerance`."""
        sure = np.asarray(probability > self.threshold + tolerance, dtype=np.bool_)
        if not self._contested(probability):
            return sure
        second = np.partition(probability, -2, axis=-3)[..., -2:-1, :, :]
        return sure & (probability > second + 2 * tolerance)  # it may fall while the second rises

    def _contested(self, probability: FloatArray) -> bool:
        return self.exclusive and probability.shape[-3] > 1
