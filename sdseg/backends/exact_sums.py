"""Which graphs this processor adds up wrongly, left to itself."""

from __future__ import annotations

from sdseg.artifacts.manifests import GraphManifest
from sdseg.core.processor import adds_up_bytes

__all__ = ["needs_exact_sums"]

INTEGERS = ("int8", "int8_mixed")  # precisions whose layers multiply bytes


def needs_exact_sums(manifest: GraphManifest) -> bool:
    """Whether a runtime has to be asked for other sums than it would make.

    True of a graph in 8-bit integers of an earlier version, whose sums of two products are larger than 16 bits hold,
    on a processor that makes them in 16 bits.
    """
    return manifest.precision in INTEGERS and not manifest.sums_fit_16_bits and not adds_up_bytes()
