"""What every painted phantom is made of: smooth noise, lobed outlines, winding lines."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["Blob", "blur", "draw_blob", "fine_noise", "grid", "smooth_noise", "step", "winding_lines"]

Floats = npt.NDArray[np.float32]


def grid(height: int, width: int) -> tuple[Floats, Floats]:
    """Row and column of each pixel's middle, [H,W] each, in units of the shorter side, zero in the middle."""
    unit = min(height, width)
    rows = ((np.arange(height) + 0.5 - height / 2) / unit).astype(np.float32)
    columns = ((np.arange(width) + 0.5 - width / 2) / unit).astype(np.float32)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return y, x


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], cells: float) -> Floats:
    """Noise [H,W] with about `cells` bumps along the shorter side; mean 0, variance about 1."""
    height, width = shape
    unit = min(height, width) / cells
    coarse = rng.standard_normal((int(np.ceil(height / unit)) + 3, int(np.ceil(width / unit)) + 3)).astype(np.float32)
    wide = cv2.resize(coarse, (int(coarse.shape[1] * unit), int(coarse.shape[0] * unit)), interpolation=cv2.INTER_CUBIC)
    top, left = int(unit), int(unit)
    field: Floats = wide[top : top + height, left : left + width] * np.float32(1.4)
    return field


def fine_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Floats:
    """White noise blurred by `sigma` pixels, [H,W], unit variance: the texture of a surface."""
    noise = blur(rng.standard_normal(shape).astype(np.float32), sigma)
    return noise / np.float32(noise.std() + 1e-6)


def blur(field: Floats, sigma: float) -> Floats:
    """Gaussian blur, borders mirrored."""
    if sigma <= 0:
        return field
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), dtype=np.float32)


def step(level: Floats, softness: float) -> Floats:
    """A soft edge: 0 below, 1 above, half where the level is zero."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(level / softness, -30, 30))), dtype=np.float32)


@dataclass(frozen=True)
class Blob:
    """A lobed ellipse: `level` is positive inside, 1 in the middle, 0 on the outline."""

    level: Floats

    @property
    def inside(self) -> npt.NDArray[np.bool_]:
        return self.level > 0

    @property
    def dome(self) -> Floats:
        """Height of a dome over the blob, 0 outside, 1 in the middle; its flank is steepest at the outline."""
        rim = 1 - np.clip(self.level, 0, 1)
        return np.asarray(1 - rim**2.5, dtype=np.float32)


def draw_blob(
    rng: np.random.Generator,
    place: tuple[Floats, Floats],
    centre: tuple[float, float],
    radius: tuple[float, float],
    lobes: float,
) -> Blob:
    """A blob over the coordinates `place` (y, x), with semi-axes `radius` turned by a random angle."""
    turn = rng.uniform(0, np.pi)
    y, x = place[0] - centre[0], place[1] - centre[1]
    u = (np.cos(turn) * x + np.sin(turn) * y) / radius[0]
    v = (np.cos(turn) * y - np.sin(turn) * x) / radius[1]
    distance = np.sqrt(u * u + v * v)
    angle = np.arctan2(v, u)
    outline = np.ones_like(distance)
    for order in (2, 3, 4, 5):
        outline += rng.normal(0, lobes / order) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    return Blob((1 - distance / np.maximum(outline, 0.35)).astype(np.float32))


def winding_lines(
    rng: np.random.Generator, shape: tuple[int, ...], count: int, thickness: tuple[float, float]
) -> Floats:
    """Branching lines [H,W] in 0…1, as blood vessels run: `count` trunks, each forking into thinner ones."""
    canvas = np.zeros(shape, dtype=np.uint8)
    unit = min(shape)
    for _ in range(count):
        start = rng.uniform((0, 0), shape)
        _branch(rng, canvas, start, rng.uniform(0, 2 * np.pi), unit * rng.uniform(*thickness), 2)
    return np.asarray(cv2.GaussianBlur(canvas.astype(np.float32) / 255, (0, 0), 0.6), dtype=np.float32)


def _branch(
    rng: np.random.Generator,
    canvas: npt.NDArray[np.uint8],
    start: npt.NDArray[np.float64],
    heading: float,
    thickness: float,
    forks: int,
) -> None:
    unit = min(canvas.shape)
    turns = np.cumsum(rng.normal(0, 0.22, 14)) + heading
    steps = np.stack([np.sin(turns), np.cos(turns)], axis=1) * (unit * 0.045)
    points = np.concatenate([start[None], start + np.cumsum(steps, axis=0)])
    # Eighths of a pixel (shift=3): lines a pixel wide would otherwise look like stairs.
    polyline = np.round(points[:, ::-1] * 8).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(canvas, [polyline], False, 255, max(1, round(thickness)), cv2.LINE_AA, 3)
    if forks:
        for _ in range(2):
            at = int(rng.integers(4, len(points) - 1))
            side = float(rng.choice((-1, 1)) * rng.uniform(0.4, 0.9))
            _branch(rng, canvas, points[at], turns[at - 1] + side, thickness * 0.65, forks - 1)
