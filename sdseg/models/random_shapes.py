"""Varied binary shapes, drawn fast: what the small mask codec learns from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["random_shapes"]

Floats = npt.NDArray[np.float32]
Masks = npt.NDArray[np.bool_]
_CHUNK = 128  # images drawn at a time: small enough to stay in the processor's cache


def random_shapes(rng: np.random.Generator, count: int, size: int) -> Masks:
    """`count` masks, bool [count,size,size]: lobed blobs, rings, cups, groups of organs, rows of teeth, ribbons,
    level sets of smooth fields, and now and then an empty or nearly full one. The same generator state gives the
    same shapes. `size` is at least 8 pixels.
    """
    if count < 0 or size < 8:
        raise ValueError(f"count {count} must not be negative and size {size} must be at least 8")
    masks = np.zeros((count, size, size), dtype=np.bool_)
    kinds = rng.choice(len(_KINDS), size=count, p=[share for _, share in _KINDS])
    for index, (draw, _) in enumerate(_KINDS):
        places = np.flatnonzero(kinds == index)
        for start in range(0, len(places), _CHUNK):
            rows = places[start : start + _CHUNK]
            masks[rows] = draw(rng, len(rows), size)
    return masks


def _blob(rng: np.random.Generator, size: int, centre: Floats, radius: Floats, lobes: float) -> Floats:
    """Signed level of one lobed ellipse per image, [n,size,size], positive inside; lengths in units of the image."""
    n = len(radius)
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size).astype(np.float32)
    x = axis[None, None, :] - centre[:, 0, None, None]
    y = axis[None, :, None] - centre[:, 1, None, None]
    turn = rng.uniform(0, np.pi, n).astype(np.float32)
    stretch = np.exp(rng.uniform(-0.35, 0.35, n)).astype(np.float32)
    cos, sin = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
    u = (cos * x + sin * y) / (radius * stretch)[:, None, None]
    v = (cos * y - sin * x) / (radius / stretch)[:, None, None]
    distance = np.sqrt(u * u + v * v)
    outline: Floats = np.ones_like(distance)
    if lobes > 0:
        # Lobes are harmonics of the angle, taken as powers of a unit complex number: no arctangent is needed.
        unit = (u + 1j * v) / np.maximum(distance, 1e-6)
        power = unit
        for order in (2, 3, 4, 5):
            power = power * unit
            size_of = rng.normal(0, lobes / order, n) + 1j * rng.normal(0, lobes / order, n)
            outline = outline + (power * size_of.astype(np.complex64)[:, None, None]).real
    level: Floats = np.maximum(outline, 0.3) - distance
    return level


def _uniform(rng: np.random.Generator, low: float, high: float, shape: int | tuple[int, ...]) -> Floats:
    return rng.uniform(low, high, shape).astype(np.float32)


def _single(rng: np.random.Generator, n: int, size: int) -> Masks:
    """One lobed blob, anywhere, from a twelfth of the width to half of it; some are cut by the border."""
    radius = _uniform(rng, 0.08, 0.42, n)
    return _blob(rng, size, _uniform(rng, 0.15, 0.85, (n, 2)), radius, 0.35) > 0


def _round(rng: np.random.Generator, n: int, size: int) -> Masks:
    """A smooth ellipse near the middle: cups and discs."""
    return _blob(rng, size, _uniform(rng, 0.3, 0.7, (n, 2)), _uniform(rng, 0.1, 0.4, n), 0.08) > 0


def _ring(rng: np.random.Generator, n: int, size: int) -> Masks:
    """A blob with a hole of its own outline, somewhere inside."""
    centre, radius = _uniform(rng, 0.35, 0.65, (n, 2)), _uniform(rng, 0.18, 0.4, n)
    outer = _blob(rng, size, centre, radius, 0.12) > 0
    hole = _blob(rng, size, centre + _uniform(rng, -0.06, 0.06, (n, 2)), radius * _uniform(rng, 0.35, 0.75, n), 0.12)
    return outer & (hole <= 0)


def _organs(rng: np.random.Generator, n: int, size: int) -> Masks:
    """Several blobs from large to small, some of them bitten by gaps."""
    mask = np.zeros((n, size, size), dtype=np.bool_)
    for smallest, largest in ((0.15, 0.33), (0.1, 0.22), (0.08, 0.15), (0.06, 0.12), (0.05, 0.1), (0.04, 0.06)):
        radius = _uniform(rng, smallest, largest, n) * (rng.random(n) < 0.75)
        mask |= _blob(rng, size, _uniform(rng, 0.12, 0.88, (n, 2)), np.maximum(radius, 1e-3), 0.3) > 0
    for _ in range(2):
        radius = _uniform(rng, 0.04, 0.12, n) * (rng.random(n) < 0.4)
        mask &= _blob(rng, size, _uniform(rng, 0.12, 0.88, (n, 2)), np.maximum(radius, 1e-3), 0.3) <= 0
    return mask


def _teeth(rng: np.random.Generator, n: int, size: int) -> Masks:
    """Rounded boxes in a row along an arch that opens to any of the four sides: touching, apart, or some missing."""
    mask = np.zeros((n, size, size), dtype=np.bool_)
    teeth = int(rng.integers(8, 13))
    half, depth = _uniform(rng, 0.26, 0.42, n), _uniform(rng, 0.35, 0.7, n)
    middle, top = _uniform(rng, 0.45, 0.55, n), _uniform(rng, 0.08, 0.3, n)
    thickness, filled = _uniform(rng, 0.04, 0.1, n), _uniform(rng, 0.6, 1.1, n)
    turn = np.pi / teeth
    axis = ((np.arange(size) + 0.5) / size).astype(np.float32)
    for angle in (np.arange(teeth) + 0.5) * turn - np.pi / 2:
        x = axis[None, None, :] - (middle + half * np.sin(angle))[:, None, None]
        y = axis[None, :, None] - (top + depth * (1 - np.cos(angle)))[:, None, None]
        along = np.stack([half * np.cos(angle), depth * np.sin(angle)]).astype(np.float32)
        length = np.sqrt((along**2).sum(axis=0))
        along = along / length
        width = length * np.float32(turn / 2) * filled * _uniform(rng, 0.9, 1.1, n)
        height = thickness * _uniform(rng, 0.9, 1.1, n)
        there = rng.random(n) < 0.95
        u = (along[0, :, None, None] * x + along[1, :, None, None] * y) / width[:, None, None]
        v = (along[0, :, None, None] * y - along[1, :, None, None] * x) / height[:, None, None]
        mask |= ((u * u) ** 2 + (v * v) ** 2 < 1) & there[:, None, None]
    for index in range(n):
        mask[index] = np.rot90(mask[index], int(rng.integers(4)))
    return mask


def _field(rng: np.random.Generator, n: int, size: int, cells: int) -> Floats:
    """Smooth noise with about `cells` bumps along each side, [n,size,size], unit variance."""
    place = np.linspace(0, cells, size)
    knots = np.arange(cells + 1)
    weights = np.exp(-0.5 * ((place[:, None] - knots[None, :]) / 0.55) ** 2).astype(np.float32)  # [size,cells+1]
    noise = rng.standard_normal((n, cells + 1, cells + 1), dtype=np.float32)
    smooth = weights @ noise @ weights.T
    return np.asarray(smooth / np.maximum(smooth.std(axis=(1, 2), keepdims=True), 1e-6), dtype=np.float32)


def _levels(rng: np.random.Generator, n: int, size: int) -> Masks:
    """Where a smooth field is high: many irregular regions at once."""
    return _field(rng, n, size, 5) > _uniform(rng, -0.5, 1.5, (n, 1, 1))


def _ribbons(rng: np.random.Generator, n: int, size: int) -> Masks:
    """Winding bands a few pixels wide, kept inside a blob."""
    near = np.abs(_field(rng, n, size, 4)) < _uniform(rng, 0.2, 0.5, (n, 1, 1))
    around = _blob(rng, size, _uniform(rng, 0.35, 0.65, (n, 2)), _uniform(rng, 0.2, 0.5, n), 0.3) > 0
    return near & around


def _empty(rng: np.random.Generator, n: int, size: int) -> Masks:
    return np.zeros((n, size, size), dtype=np.bool_)


def _nearly_full(rng: np.random.Generator, n: int, size: int) -> Masks:
    return _blob(rng, size, _uniform(rng, 0.4, 0.6, (n, 2)), _uniform(rng, 0.55, 0.9, n), 0.2) > 0


_KINDS: tuple[tuple[Callable[[np.random.Generator, int, int], Masks], float], ...] = (
    (_single, 0.24),
    (_round, 0.10),
    (_ring, 0.07),
    (_organs, 0.22),
    (_teeth, 0.17),
    (_levels, 0.08),
    (_ribbons, 0.05),
    (_empty, 0.04),
    (_nearly_full, 0.03),
)
