"""Hypotheses of several models in one set, in which every model counts alike: its mean is the mean of the models."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["UNEQUAL", "equal_shares"]

UNEQUAL = "its members draw numbers of hypotheses that cannot count alike: each must divide the largest"


def equal_shares(counts: Sequence[int]) -> tuple[int, ...] | None:
    """How often the hypotheses of each model are repeated, given their numbers; None where that cannot be even."""
    most = max(counts, default=0)
    if not counts or any(count < 1 or most % count for count in counts):
        return None
    return tuple(most // count for count in counts)
