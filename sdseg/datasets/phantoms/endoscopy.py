"""The inside of a colon as an endoscope sees it: mucosa with folds and vessels, a lumen, one polyp, a moving lamp."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
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

__all__ = ["Frame", "Scene", "View", "draw_scene", "photograph"]


@dataclass(frozen=True)
class Frame:
    """What a scene is drawn on."""

    height: int  # of the pictures, in pixels
    width: int
    margin: float = 1.0  # the scene is this much larger than a picture, so that a camera can move over it
    centre: tuple[float, float] = (0.0, 0.0)  # of the polyp: rows, columns from the middle, in shorter sides


@dataclass(frozen=True)
class Scene:
    """A surface before the light falls on it."""

    colour: Floats  # [H,W,3] reflectance 0…1
    height: Floats  # [H,W] towards the camera, in units of the picture's shorter side
    depth: Floats  # [H,W] 0 near the lamp, 1 deep in the lumen
    wetness: Floats  # [H,W] how much it glistens
    polyp: Floats  # [H,W] level of the polyp's outline, positive inside


@dataclass(frozen=True)
class View:
    """Where the camera stands and how its lamp shines."""

    shift: tuple[float, float]  # of the scene's middle from the picture's: rows, columns, in shorter sides
    turn: float  # degrees
    zoom: float
    lamp: tuple[float, float]  # rows, columns from the middle, in shorter sides
    power: float
    warmth: float  # colour of the lamp: above 1 is redder


def draw_scene(rng: np.random.Generator, frame: Frame, radius: float) -> Scene:
    """A scene with a polyp of about `radius`, in shorter sides of the picture."""
    rows, columns = round(frame.height * frame.margin), round(frame.width * frame.margin)
    place = grid(rows, columns)  # in shorter sides of the scene, below in those of the picture, from the polyp
    place = (place[0] * frame.margin - frame.centre[0], place[1] * frame.margin - frame.centre[1])
    place = (place[0].astype(np.float32), place[1].astype(np.float32))
    polyp, stalk = _polyp(rng, place, radius)
    lumen = _lumen(rng, place, radius)
    folds = _folds(rng, lumen)
    bumps = _bumps(rng, place, radius)
    height_map = 0.035 * smooth_noise(rng, (rows, columns), 3) + 0.05 * folds + bumps
    texture = fine_noise(rng, (rows, columns), 0.9)
    pits = fine_noise(rng, (rows, columns), 0.006 * min(rows, columns))
    height_map = height_map * (1 - 0.7 * step(polyp.level, 0.1)) + radius * stalk * polyp.dome
    height_map = height_map + 0.0007 * texture + 0.0028 * pits * step(polyp.level, 0.05)
    colour = _mucosa(rng, rows, columns, folds)
    colour = _paint_polyp(rng, colour, polyp, pits)
    wetness = np.clip(0.6 + 0.5 * smooth_noise(rng, (rows, columns), 4), 0.05, 1.5)
    depth = step(0.28 - lumen, 0.07) * (1 - step(polyp.level + 0.12, 0.05))
    return Scene(colour, height_map.astype(np.float32), depth.astype(np.float32), wetness, polyp.level)


def photograph(
    rng: np.random.Generator, scene: Scene, view: View, frame: Frame
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """The picture [H,W,3] uint8 RGB and the polyp's mask [H,W]."""
    height, width = frame.height, frame.width
    rows, columns = scene.height.shape
    matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), view.turn, view.zoom)
    matrix[0, 2] += (width - columns) / 2 + view.shift[1] * min(height, width)
    matrix[1, 2] += (height - rows) / 2 + view.shift[0] * min(height, width)

    def seen(field: Floats, border: int = cv2.BORDER_REFLECT) -> Floats:
        moved = cv2.warpAffine(field, matrix, (width, height), borderMode=border, borderValue=(-1.0,))
        return np.asarray(moved, dtype=np.float32)

    colour, relief, depth = seen(scene.colour), seen(scene.height), seen(scene.depth)
    diffuse, shine = _light(rng, relief, view)
    light = diffuse * (1 - 0.93 * depth) * view.power
    lamp = np.array([view.warmth, 1.0, 1.0 / view.warmth], dtype=np.float32)
    picture = colour * light[:, :, None] * lamp
    picture += (shine * seen(scene.wetness) * (1 - depth))[:, :, None] * np.array([1.0, 0.98, 0.95], dtype=np.float32)
    grain = rng.standard_normal((height, width, 3)).astype(np.float32)
    # A camera's shoulder: bright parts saturate slowly.
    exposed = np.asarray(1 - np.exp(-1.25 * np.clip(picture, 0, None)), dtype=np.float32)
    picture = blur(exposed, 0.5) + 0.016 * grain + 0.01 * rng.standard_normal((height, width, 1)).astype(np.float32)
    return np.asarray(np.clip(picture * 255, 0, 255), dtype=np.uint8), seen(scene.polyp, cv2.BORDER_CONSTANT) > 0


def _polyp(rng: np.random.Generator, place: tuple[Floats, Floats], radius: float) -> tuple[Blob, float]:
    stretch = float(np.exp(rng.uniform(-0.28, 0.28)))
    blob = draw_blob(rng, place, (0.0, 0.0), (radius * stretch, radius / stretch), 0.16)
    return blob, float(rng.uniform(0.3, 0.55))


def _lumen(rng: np.random.Generator, place: tuple[Floats, Floats], radius: float) -> Floats:
    """Distance from the lumen's middle, in shorter sides, wavy; the lumen lies beside the polyp."""
    angle = rng.uniform(0, 2 * np.pi)
    away = radius + rng.uniform(0.15, 0.45)
    y, x = place[0] - away * np.sin(angle), place[1] - away * np.cos(angle)
    stretch = rng.uniform(0.75, 1.3)
    wave = 0.05 * smooth_noise(rng, y.shape, 3)
    return np.asarray(np.sqrt((x * stretch) ** 2 + (y / stretch) ** 2) + wave, dtype=np.float32)


def _folds(rng: np.random.Generator, lumen: Floats) -> Floats:
    """Crescent folds around the lumen, 0…1: sharp on one side, as haustra are."""
    phase = lumen * rng.uniform(2.2, 4.0) + 0.16 * smooth_noise(rng, lumen.shape, 2.5) + rng.uniform()
    saw = np.mod(phase, 1.0)
    ridge = np.exp(-6 * saw) + np.exp(-18 * (1 - saw))
    strength = np.clip(0.6 + 0.6 * smooth_noise(rng, lumen.shape, 2), 0, 1.2)
    return blur((ridge * strength).astype(np.float32), 1.0)


def _bumps(rng: np.random.Generator, place: tuple[Floats, Floats], radius: float) -> Floats:
    """Distractors: a few flat domes of the mucosa's own colour, away from the polyp."""
    total = np.zeros_like(place[0])
    for _ in range(int(rng.integers(2, 5))):
        angle, away = rng.uniform(0, 2 * np.pi), radius + rng.uniform(0.18, 0.5)
        size = rng.uniform(0.06, 0.16)
        blob = draw_blob(rng, place, (away * np.sin(angle), away * np.cos(angle)), (size, size * 0.8), 0.15)
        total += np.float32(0.35 * size) * blob.dome
    return total


def _mucosa(rng: np.random.Generator, rows: int, columns: int, folds: Floats) -> Floats:
    """Reflectance of healthy mucosa: pink to orange, mottled, with vessels and a few yellow stains."""
    red = rng.uniform(0.72, 0.92)
    green, blue = red * rng.uniform(0.5, 0.62), red * rng.uniform(0.3, 0.42)
    mottle = 0.05 * smooth_noise(rng, (rows, columns), 3) + 0.035 * smooth_noise(rng, (rows, columns), 9)
    colour = np.empty((rows, columns, 3), dtype=np.float32)
    tint = 0.035 * smooth_noise(rng, (rows, columns), 2)
    colour[..., 0] = red * (1 + 0.5 * mottle)
    colour[..., 1] = green * (1 + mottle + tint + 0.06 * folds)
    colour[..., 2] = blue * (1 + mottle - tint + 0.08 * folds)
    vessels = winding_lines(rng, (rows, columns), int(rng.integers(3, 8)), (0.004, 0.009))
    colour *= 1 - vessels[:, :, None] * np.array([0.12, 0.42, 0.35], dtype=np.float32)
    if rng.random() < 0.5:
        stain = step(smooth_noise(rng, (rows, columns), 4) - 2.0, 0.15)[:, :, None]
        colour = colour * (1 - 0.7 * stain) + 0.7 * stain * np.array([0.85, 0.72, 0.25], dtype=np.float32)
    return colour


def _paint_polyp(rng: np.random.Generator, colour: Floats, polyp: Blob, pits: Floats) -> Floats:
    """Redder and rougher than the mucosa around it, with a rim; darker or brighter by chance."""
    red = colour[..., 0].mean() * rng.uniform(0.82, 1.08)
    ratio = colour[..., 1].mean() / colour[..., 0].mean()
    green = red * (ratio - rng.uniform(0.13, 0.2))
    blue = red * rng.uniform(0.3, 0.4)
    own = np.array([red, green, blue], dtype=np.float32) * (1 + 0.10 * pits[:, :, None])
    own = own * (1 + 0.06 * smooth_noise(rng, pits.shape, 6)[:, :, None])
    inside = step(polyp.level, 0.02)[:, :, None]
    rim = np.exp(-(((polyp.level + 0.05) / 0.06) ** 2))[:, :, None] * np.float32(rng.uniform(0.05, 0.2))
    return np.asarray((colour * (1 - inside) + own * inside) * (1 - rim), dtype=np.float32)


def _light(rng: np.random.Generator, relief: Floats, view: View) -> tuple[Floats, Floats]:
    """Diffuse light and specular highlights of a lamp near the camera, [H,W] each."""
    height, width = relief.shape
    unit = min(height, width)
    y, x = grid(height, width)
    slope_y, slope_x = np.gradient(relief * unit)
    dy, dx = y - view.lamp[0], x - view.lamp[1]
    length = np.sqrt(slope_x**2 + slope_y**2 + 1)
    to_lamp = np.sqrt(dx**2 + dy**2 + 0.55**2)
    facing = np.clip((slope_x * dx + slope_y * dy + 0.55) / (length * to_lamp), 0.03, 1)
    falloff = (0.55 / to_lamp) ** 2
    diffuse = (0.22 + 0.78 * facing**1.2) * (0.12 + falloff)
    half = np.sqrt(dx**2 + dy**2 + 1.6**2)
    mirror = np.clip((slope_x * dx + slope_y * dy + 1.6) / (length * half), 0, 1)
    sparkle = np.clip(fine_noise(rng, (height, width), 0.011 * unit) - 0.3, 0, 2)
    shine = np.clip((mirror**160 * sparkle * falloff - 0.25) * 4, 0, 1.5)
    return diffuse.astype(np.float32), blur(shine.astype(np.float32), 0.6)
