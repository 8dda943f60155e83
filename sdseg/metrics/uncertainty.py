"""How sure several hypotheses are together: their variance, and the entropy of their mean."""

from __future__ import annotations

import numpy as np

from sdseg.core.array_types import FloatArray

__all__ = ["LARGEST_ENTROPY", "LARGEST_VARIANCE", "entropy", "variance"]

LARGEST_VARIANCE = 0.25  # half of the hypotheses say 0, half 1
LARGEST_ENTROPY = float(np.log(2.0))  # of a probability of 1/2, in nats


def variance(hypotheses: FloatArray) -> FloatArray:
    """Of hypotheses [N,S,…] the variance of each pixel's probability over S, [N,…], from 0 to 0.25."""
    return np.asarray(hypotheses.astype(np.float64).var(axis=1), dtype=np.float32)


def entropy(probability: FloatArray) -> FloatArray:
    """−p·ln p − (1 − p)·ln(1 − p) of each probability, in nats, from 0 to ln 2: every structure by itself."""
    inside = np.clip(probability.astype(np.float64), 0.0, 1.0)
    terms = (-part * np.log(np.where(part > 0.0, part, 1.0)) for part in (inside, 1.0 - inside))
    return np.asarray(sum(terms), dtype=np.float32)
