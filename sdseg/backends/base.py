"""The interface of every backend, and of those whose noise can be drawn again."""

from __future__ import annotations

from copy import copy
from typing import Protocol, Self, runtime_checkable

from sdseg.core.array_types import FloatArray, RawImages

__all__ = ["Backend", "Reseedable", "Seeded"]


class Backend(Protocol):
    """What `evaluate`, `export` and `predict` know of a model."""

    @property
    def name(self) -> str:
        """Runtime and device, for example torch-cpu or onnxruntime-cpu."""
        ...

    def probability(self, images: RawImages) -> FloatArray:
        """Raw images [N,H,W,C] at the working size -> probability [N,K,H,W] in [0,1].

        Raises UserError for images of another shape or type than the model's contract names.
        """
        ...


@runtime_checkable
class Reseedable(Backend, Protocol):
    """A backend whose noise can be drawn from another seed."""

    def with_seed(self, seed: int) -> Backend:
        """The same network with noise from another seed; nothing is loaded again."""
        ...


class Seeded:
    """Base of backends that draw their noise from `_seed` at every call."""

    _seed: int

    def with_seed(self, seed: int) -> Self:
        """The same network, session or compiled graph with noise from another seed."""
        other = copy(self)
        other._seed = seed
        return other
