"""The interface of every backend, and of those whose noise can be drawn again."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Protocol, Self, runtime_checkable

from sdseg.config.patches import SlidingWindow
from sdseg.core.array_types import FloatArray, RawImages

__all__ = [
    "Backend",
    "OneAtATime",
    "Reseedable",
    "Sampling",
    "Seeded",
    "Windowed",
    "batch_for",
    "hypotheses_of",
    "samples_of",
    "why_mean_alone",
    "window_of",
]


class Backend(Protocol):
    """What `evaluate`, `export` and `predict` know of a model."""

    @property
    def name(self) -> str:
        """Runtime and device, for example torch-cpu or onnxruntime-cpu."""
        ...

    def probability(self, images: RawImages) -> FloatArray:
        """Raw images [N,H,W,C] at the working size -> probability [N,K,H,W] in [0,1].

        A three-dimensional model takes them for the slices of one volume, the lowest first. Raises UserError for
        images of another shape or type than the model's contract names.
        """
        ...


@runtime_checkable
class Windowed(Backend, Protocol):
    """A backend that may be of a three-dimensional model."""

    @property
    def sliding_window(self) -> SlidingWindow | None:
        """Through which it sees a volume; None: it computes slices one by one, whichever they are."""
        ...


@runtime_checkable
class OneAtATime(Backend, Protocol):
    """A backend that may take images whole, each at a size of its own: backends/tiled.py."""

    @property
    def one_at_a_time(self) -> bool:
        """Whether it does, so that images cannot be stacked."""
        ...


@runtime_checkable
class Reseedable(Backend, Protocol):
    """A backend whose noise can be drawn from another seed."""

    def with_seed(self, seed: int) -> Backend:
        """The same network with noise from another seed; nothing is loaded again."""
        ...


@runtime_checkable
class Sampling(Backend, Protocol):
    """A backend that may give the hypotheses themselves, and not their mean alone."""

    @property
    def samples(self) -> int:
        """How many hypotheses S of an image it gives; 0: their mean alone."""
        ...

    @property
    def mean_alone(self) -> str:
        """Why that is so where it is, for messages."""
        ...

    def hypotheses(self, images: RawImages) -> FloatArray:
        """Raw images [N,H,W,C] -> every hypothesis [N,S,K,H,W] in [0,1]; `probability` is their mean over S."""
        ...


def window_of(backend: Backend) -> SlidingWindow | None:
    """Through which a backend sees volumes, which it must then be given whole; None: it computes slices one by one."""
    return backend.sliding_window if isinstance(backend, Windowed) else None


def batch_for(backend: Backend, batch: int) -> int | None:
    """How many slices to give a backend at a time; None: those of one volume."""
    if isinstance(backend, OneAtATime) and backend.one_at_a_time:
        return 1
    return None if window_of(backend) is not None else batch


def hypotheses_of(backend: Backend) -> Callable[[RawImages], FloatArray] | None:
    """What gives the hypotheses [N,S,K,H,W] of a backend; None where their mean is all that is known."""
    return backend.hypotheses if isinstance(backend, Sampling) and backend.samples else None


def samples_of(backend: Backend) -> int:
    """How many hypotheses of an image a backend gives; 0 where their mean is all that is known."""
    return backend.samples if isinstance(backend, Sampling) else 0


def why_mean_alone(backend: Backend) -> str:
    """Why a backend gives no hypotheses."""
    return backend.mean_alone if isinstance(backend, Sampling) else f"'{backend.name}' knows their mean alone"


class Seeded:
    """Base of backends that draw their noise from `_seed` at every call."""

    _seed: int

    def with_seed(self, seed: int) -> Self:
        """The same network, session or compiled graph with noise from another seed."""
        other = copy(self)
        other._seed = seed
        return other
