"""`sdseg phantoms`: write a synthetic dataset in the layout of a real one."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from sdseg.artifacts import atomic_folder
from sdseg.data.phantoms import write_phantoms
from sdseg.data.sources import source_named
from sdseg.errors import UserError

__all__ = ["phantoms"]

log = logging.getLogger(__name__)


def phantoms(source: str, output: Path, seed: int, scale: float) -> None:
    """Write the phantom of `source` to the folder `output`, which it replaces as a whole.

    The same seed and scale give the same bytes. Raises UserError for an unknown source, a negative seed, or a scale
    that is not above zero.
    """
    source_named(source)
    if seed < 0:
        raise UserError(
            f"the seed is {seed}, expected 0 or more", where="--seed", remedy="give a whole number from 0 on"
        )
    if not (math.isfinite(scale) and scale > 0):
        raise UserError(
            f"the scale is {scale}, expected a number above 0",
            where="--scale",
            remedy="1 is the usual size, 0.1 a small one",
        )
    with atomic_folder(output) as folder:
        counts = write_phantoms(source, folder, seed, scale)
    shown = ", ".join(f"{count} {split}" for split, count in counts.items())
    log.info("%s: %s (phantom, seed %d) in %s", source, shown, seed, output)
