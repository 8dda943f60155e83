"""The shape of what a model sees: along which axis of the patient volumes are cut into slices."""

from __future__ import annotations

from typing import Literal

__all__ = ["Plane", "Slicing"]

Plane = Literal["axial", "coronal", "sagittal"]  # across the body; front from back; left from right
# coarsest: that across the axis along which the training volumes' voxels lie furthest apart, as prepare finds it.
Slicing = Literal["axial", "coronal", "sagittal", "coarsest"]
