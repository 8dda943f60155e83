"""What is unlikely about a volume's values and grid, in words: it is used as it is, and the user hears of it."""

from __future__ import annotations

import numpy as np

from sdseg.artifacts.image_contract import ImageContract
from sdseg.core.array_types import AnyArray
from sdseg.io.geometry import Geometry

__all__ = ["assumed_orientation", "odd_spacing", "odd_values", "unlikely_spacing"]

SPACING = (0.05, 10.0)  # mm; what lies outside was hardly measured by a scanner
SCANNER = (-32768.0, 32767.0)  # what the 16 bits of a CT scanner hold
EIGHT_BITS = (0.0, 255.0)


def odd_values(raw: AnyArray, image: ImageContract | None = None) -> tuple[str, ...]:
    """Notes on the values of a file, of any shape, where Hounsfield units are expected; `image` says so, if known."""
    if raw.dtype.kind not in "iuf" or not raw.size:
        return ()
    if image is not None and (image.modality != "ct" or image.is_normalised):
        return ()
    window = image.window if image is not None else None
    if raw.dtype.itemsize == 1:
        meant = window is not None and EIGHT_BITS[0] <= window[0] and window[1] <= EIGHT_BITS[1]
        if meant:
            return ()
        return (
            f"8 bits a voxel, values from {raw.min()} to {raw.max()}: Hounsfield units of air are -1000 and of bone "
            "above 300; it was windowed for display, it seems, and should be exported with its own values",
        )
    if raw.dtype.itemsize == 2 and raw.dtype.kind == "i":
        return ()
    low, high = float(raw.min()), float(raw.max())
    within = window is None or (SCANNER[0] <= window[0] and window[1] <= SCANNER[1])
    if within and (low < SCANNER[0] or high > SCANNER[1]):
        return (f"values from {low:.4g} to {high:.4g}: beyond the 16 bits of any CT scanner",)
    return ()


def odd_spacing(geometry: Geometry) -> tuple[str, ...]:
    """A note on distances that no scanner measures."""
    if not unlikely_spacing(geometry.spacing):
        return ()
    spacing = " × ".join(f"{length:g}" for length in geometry.spacing)
    return (f"voxels of {spacing} mm, an unlikely spacing: millilitres and distances follow from it",)


def assumed_orientation(geometry: Geometry) -> tuple[str, ...]:
    """A note on a NIfTI file that does not say how its axes lie in the patient."""
    if geometry.qform_code or geometry.sform_code:
        return ()
    return (
        "its header says nothing of the orientation (qform_code and sform_code are 0): its axes were taken to run "
        f"{geometry.axcodes}, and left and right may be swapped",
    )


def unlikely_spacing(spacing: tuple[float, ...]) -> bool:
    """Whether a distance between voxels, in mm, was hardly measured by a scanner."""
    return not bool(np.all([SPACING[0] <= length <= SPACING[1] for length in spacing]))
