"""What an exported model gives beside the probability, held to what the model's own hypotheses make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sdseg.backends.base import Backend, hypotheses_of
from sdseg.backends.graph import GraphHypotheses
from sdseg.backends.torch import TorchBackend
from sdseg.core.array_types import FloatArray, MaskArray, RawImages
from sdseg.metrics.uncertainty import entropy, variance

__all__ = ["OutputDifferences"]


@dataclass
class OutputDifferences:
    """Running differences of the outputs, by name: the hypotheses, their variance, the entropy of their mean."""

    reference: Backend
    exported: Backend
    largest: dict[str, float] = field(default_factory=dict)  # of any pixel; of what was compared

    def add(self, images: RawImages) -> MaskArray:
        """Compare on raw images [N,H,W,C]; gives those [N] of which an output is NaN or infinite."""
        broken = np.zeros(len(images), dtype=np.bool_)
        ours = _outputs_of(self.exported)
        if not (isinstance(self.reference, TorchBackend) and self.reference.samples) or ours is None:
            return broken
        *hypotheses, of_variance, of_entropy = np.moveaxis(self.reference.of_hypotheses(_measured, images), 1, 0)
        expected = {"hypotheses": np.stack(hypotheses, axis=1), "variance": of_variance, "entropy": of_entropy}
        outputs = ours(images)
        for name, output in outputs.items():
            apart = np.abs(output.astype(np.float64) - expected[name]).reshape(len(images), -1)
            finite = np.isfinite(apart)
            broken |= ~finite.all(axis=1)
            self.largest[name] = max(self.largest.get(name, 0.0), float(apart[finite].max(initial=0.0)))
        return broken

    def problems(self, tolerance: float) -> list[str]:
        """What lies further apart than a `tolerance` of the probability allows."""
        # Entropy is steepest at 0: there a difference within the tolerance is this much of it.
        of_entropy = float(entropy(np.array(min(tolerance, 0.5))))
        named = (("hypotheses", "a hypothesis", tolerance), ("variance", "the variance", tolerance))
        return [
            f"{name} differs by up to {self.largest[key]:.3g}, the tolerance is {allowed:g}"
            for key, name, allowed in (*named, ("entropy", "the entropy", of_entropy))
            if self.largest.get(key, 0.0) > allowed
        ]


def _outputs_of(backend: Backend) -> Callable[[RawImages], dict[str, FloatArray]] | None:
    """What gives the outputs beside the probability; None where there are none."""
    if isinstance(backend, GraphHypotheses):
        return backend.beside_probability
    hypotheses = hypotheses_of(backend)
    return None if hypotheses is None else lambda images: {"hypotheses": hypotheses(images)}


def _measured(hypotheses: FloatArray) -> FloatArray:
    """Hypotheses [N,S,…] with their variance and the entropy of their mean behind them, [N,S + 2,…]."""
    measures = variance(hypotheses), entropy(hypotheses.mean(axis=1))
    return np.concatenate([hypotheses, *(one[:, None] for one in measures)], axis=1)
