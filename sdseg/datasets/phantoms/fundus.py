"""The back of the eye around the optic disc: disc and cup, vessels, pale things that are neither, an uneven flash."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sdseg.datasets.phantoms.canvas import (
    Blob,
    Floats,
    blur,
    draw_blob,
    fine_noise,
    grid,
    smooth_noise,
    step,
    winding_lines,
)

__all__ = ["SIZE", "draw_fundus"]

SIZE = 160  # pixels, both ways
_SHAPE = (SIZE, SIZE)
Place = tuple[Floats, Floats]


def draw_fundus(rng: np.random.Generator, glaucoma: bool) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """A photograph [H,W,3] uint8 RGB and its labels [H,W] uint8."""
    place = grid(SIZE, SIZE)
    centre = rng.uniform(-0.09, 0.09, 2)
    place = (place[0] - np.float32(centre[0]), place[1] - np.float32(centre[1]))  # from the disc's middle
    disc, cup = _outlines(rng, place, glaucoma)
    red = rng.uniform(0.62, 0.85)
    colour = red * _tissue(rng, (0.42, 0.56), (0.16, 0.3), (1.0, 1.0))
    mottle = 0.06 * smooth_noise(rng, _SHAPE, 4) + 0.04 * fine_noise(rng, _SHAPE, 1.5)
    picture = colour * (1 + mottle[:, :, None])
    picture = _choroid(rng, picture)
    picture = _distractors(rng, picture, place, disc)
    rim = red * _tissue(rng, (0.66, 0.74), (0.4, 0.5), (1.02, 1.2))
    pale = red * _tissue(rng, (0.87, 0.94), (0.64, 0.76), (1.08, 1.3))
    fibres = 1 + 0.05 * fine_noise(rng, _SHAPE, 1.2)[:, :, None]
    picture = _over(picture, rim * fibres, step(disc.level, 0.035))
    picture = _over(picture, pale * fibres, step(cup.level, 0.035))
    picture = _vessels(rng, picture, place, disc)
    picture = _expose(rng, picture, place)
    labels = np.full(_SHAPE, 255, dtype=np.uint8)
    labels[disc.inside] = 128
    labels[cup.inside & disc.inside] = 0
    return picture, labels


def _tissue(
    rng: np.random.Generator, green: tuple[float, float], blue: tuple[float, float], gain: tuple[float, float]
) -> Floats:
    """A colour by the ranges of its green and blue against its red, [3]."""
    return np.array([1.0, rng.uniform(*green), rng.uniform(*blue)], dtype=np.float32) * np.float32(rng.uniform(*gain))


def _outlines(rng: np.random.Generator, place: Place, glaucoma: bool) -> tuple[Blob, Blob]:
    """The disc, and the cup inside it: larger and taller in glaucoma."""
    radius = rng.uniform(0.27, 0.35)
    disc = draw_blob(rng, place, (0.0, 0.0), (radius, radius * rng.uniform(1.0, 1.12)), 0.03)
    ratio = rng.uniform(0.62, 0.75) if glaucoma else rng.uniform(0.48, 0.64)
    room = radius * (1 - ratio) * 0.4
    middle = rng.uniform(-room, room, 2)
    cup = draw_blob(rng, place, (middle[0], middle[1]), (radius * ratio, radius * ratio * rng.uniform(1.0, 1.15)), 0.07)
    # The disc contains the cup: its level is never above the disc's own by more than a rim's width.
    return disc, Blob(np.minimum(cup.level, disc.level - 0.06))


def _over(below: Floats, above: Floats, share: Floats) -> Floats:
    return np.asarray(below * (1 - share[:, :, None]) + above * share[:, :, None], dtype=np.float32)


def _choroid(rng: np.random.Generator, picture: Floats) -> Floats:
    """Broad pale and dark streaks that shine through the retina."""
    streaks = blur(winding_lines(rng, _SHAPE, 8, (0.02, 0.04)), 2.0)[:, :, None]
    return np.asarray(picture * (1 + rng.uniform(0, 0.18) * streaks), dtype=np.float32)


def _distractors(rng: np.random.Generator, picture: Floats, place: Place, disc: Blob) -> Floats:
    """Pale things that are not the cup: a crescent beside the disc, exudates, a reflex of the retina."""
    y, x = place
    pale = np.array([0.98, 0.8, 0.5], dtype=np.float32) * rng.uniform(0.75, 0.95)
    if rng.random() < 0.6:
        angle = rng.uniform(0, 2 * np.pi)
        side = np.clip(np.cos(np.arctan2(y, x) - angle), 0, 1) ** 2
        crescent = np.exp(-(((disc.level + 0.12) / 0.08) ** 2)) * side
        picture = _over(picture, np.broadcast_to(pale, picture.shape), (0.8 * crescent).astype(np.float32))
    for _ in range(int(rng.integers(0, 5))):
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 0.6)
        size = rng.uniform(0.02, 0.06)
        spot = draw_blob(rng, place, (away * np.sin(angle), away * np.cos(angle)), (size, size * 0.7), 0.2)
        outside = step(-disc.level - 0.15, 0.04)
        picture = _over(picture, np.broadcast_to(pale, picture.shape), step(spot.level, 0.1) * outside)
    reflex = np.clip(smooth_noise(rng, _SHAPE, 3) - 1.0, 0, 1)[:, :, None] * np.float32(rng.uniform(0, 0.3))
    return np.asarray(picture + reflex * np.array([0.5, 0.5, 0.4], dtype=np.float32), dtype=np.float32)


def _vessels(rng: np.random.Generator, picture: Floats, place: Place, disc: Blob) -> Floats:
    """Vessels that leave the disc up and down, darker than everything they cross."""
    y, x = place
    total = np.zeros(_SHAPE, dtype=np.float32)
    side = rng.choice((-1.0, 1.0))
    for upward in (-1.0, 1.0):
        for _ in range(int(rng.integers(2, 4))):
            bend, start = side * rng.uniform(-0.7, 1.2), side * rng.uniform(-0.02, 0.1)
            along = np.clip(upward * y, 0, None)
            course = start + bend * along**1.6 + 0.015 * np.sin(along * rng.uniform(15, 30) + rng.uniform(0, 6))
            width = rng.uniform(0.008, 0.017) * np.clip(1.15 - along, 0.4, 1)
            line = np.exp(-(((x - course) / width) ** 2)) * step((upward * y + 0.02).astype(np.float32), 0.01)
            total = np.maximum(total, (line * rng.uniform(0.6, 1)).astype(np.float32))
    total = np.maximum(total, 0.6 * winding_lines(rng, _SHAPE, 2, (0.006, 0.01)) * step(-disc.level, 0.05))
    return np.asarray(picture * (1 - total[:, :, None] * np.array([0.3, 0.55, 0.45])), dtype=np.float32)


def _expose(rng: np.random.Generator, picture: Floats, place: Place) -> npt.NDArray[np.uint8]:
    """Uneven flash, a camera's colours, blur, grain; sometimes the edge of the field of view."""
    y, x = place
    angle, tilt = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 1.1)
    flash = 1 + tilt * (np.cos(angle) * x + np.sin(angle) * y) - rng.uniform(0, 0.9) * (x**2 + y**2)
    light = np.clip(flash * rng.uniform(0.7, 1.25), 0.12, None)[:, :, None]
    tint = np.array([1.0, rng.uniform(0.92, 1.06), rng.uniform(0.8, 1.1)], dtype=np.float32)
    exposed = 1 - np.exp(-1.6 * picture * light * tint)
    if rng.random() < 0.3:
        edge = x * np.cos(angle) + y * np.sin(angle) + 0.2 * (x * np.sin(angle) - y * np.cos(angle)) ** 2
        exposed = exposed * step((0.5 - edge).astype(np.float32), 0.006)[:, :, None]
    grain = 0.012 * rng.standard_normal(picture.shape).astype(np.float32)
    exposed = blur(exposed.astype(np.float32), float(rng.uniform(0.4, 0.9))) + grain
    return np.asarray(np.clip(exposed * 255, 0, 255), dtype=np.uint8)
