"""Phantom of BTCV: abdominal CT in Hounsfield units with thirteen organs, thick slices, orientations other than RAS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sdseg.datasets.phantoms.canvas import Floats, step
from sdseg.datasets.phantoms.files import PhantomCase, share_out, write_volume
from sdseg.datasets.phantoms.solids import Space, ellipsoid, make_space, oriented, rounded, smooth_noise3, tube

__all__ = ["write"]

_VOLUMES = 16
_DATASET = 4  # part of every case's seed
_IDS = [*range(1, 11), *range(21, 41)]  # as the archive numbers its labelled volumes
_CODES = ("LPS", "LAS", "RPI", "LAI")
_AIR, _FAT, _MUSCLE = -1000.0, -100.0, 58.0
_PANCREAS = [(0.2, 0.02, -0.3), (0.05, 0.08, -0.1), (-0.2, 0.0, 0.05), (-0.42, -0.08, 0.15)]
_PORTAL_VEIN = [(0.25, 0.02, 0.3), (0.08, -0.02, 0.05), (-0.2, -0.1, 0.1), (-0.42, -0.12, 0.25)]


def write(folder: Path, seed: int, scale: float) -> list[PhantomCase]:
    """Write images and labels; one case and one group per volume, thirty at most."""
    cases = []
    count = min(len(_IDS), max(6, round(_VOLUMES * scale)))
    for number, split in zip(_IDS, share_out(count, 0.15, 0.25), strict=False):
        rng = np.random.default_rng([seed, _DATASET, number])
        shape = (96, 96, int(rng.integers(20, 29)))
        side = float(rng.uniform(3.3, 3.9))
        voxels, labels = _abdomen(rng, shape)
        spacing = (side, side, float(rng.choice((3.0, 5.0, 6.0))))
        (voxels, labels), affine = oriented((voxels, labels), spacing, _CODES[number % len(_CODES)])
        name = f"{number:04d}"
        write_volume(folder / "RawData" / "Training" / "img" / f"img{name}.nii.gz", voxels, affine)
        write_volume(folder / "RawData" / "Training" / "label" / f"label{name}.nii.gz", labels, affine)
        cases.append(PhantomCase(name, name, split))
    return cases


def _abdomen(
    rng: np.random.Generator, shape: tuple[int, int, int]
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """Voxels in HU and labels, [X,Y,Z] in RAS order."""
    space = make_space(rng, shape, 0.045)
    voxels, wall = _body(rng, space)
    _lungs(rng, space, voxels)
    _bowel(rng, space, voxels)
    labels = np.zeros(shape, dtype=np.uint8)
    inner = ellipsoid(space, (0, 0, 0), (0.78, 0.6, 50.0))
    for label, depth, level in _organs(rng, space):
        inside = (depth > 0) & (inner > 0.01)
        # A film of fat around every organ: neighbours of equal brightness stay told apart.
        film = (depth > -0.035) & (labels == 0) & (wall < 0)
        voxels[film & ~inside] = np.minimum(voxels[film & ~inside], _FAT + 30)
        filled = _filling(rng, label, level, depth, space)
        voxels[inside] = filled[inside]
        labels[inside] = label
    grain = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), (0.7, 0.7, 0))
    voxels += grain / grain.std() * np.float32(rng.uniform(14, 24)) * (voxels > -900)
    voxels += 6 * smooth_noise3(rng, shape, (2, 2, 2))
    return rounded(voxels, 0.55, -1024, 3071), labels


def _body(rng: np.random.Generator, space: Space) -> tuple[Floats, Floats]:
    """Skin, fat, muscle, ribs, spine; also the depth inside the muscular wall, negative within the belly."""
    fat = rng.uniform(0.02, 0.09)
    skin = ellipsoid(space, (0, 0, 0), (0.97, 0.79, 50.0))
    outer = ellipsoid(space, (0, 0, 0), (0.97 - fat, 0.79 - fat, 50.0))
    inner = ellipsoid(space, (0, 0, 0), (0.80, 0.62, 50.0))
    voxels = np.where(skin > 0, np.float32(_FAT), np.float32(_AIR))
    voxels[(skin > 0) & (skin < 0.02)] = 20
    muscle = _MUSCLE + 9 * smooth_noise3(rng, space.shape, (12, 12, 6))
    wall = (outer > 0) & (inner < 0)
    voxels[wall] = muscle[wall]
    for side in (-1, 1):
        for centre, radii in (((0.2, -0.58), (0.17, 0.13)), ((0.19, -0.36), (0.075, 0.09))):
            bundle = ellipsoid(space, (side * centre[0], centre[1], -0.2), (*radii, 50.0)) > 0
            voxels[bundle] = muscle[bundle]
    angle = np.arctan2(space.y, space.x)
    slope = rng.uniform(1.0, 1.6)
    ribs = (np.cos(11 * (angle + 0.25 * slope * space.z)) > 0.72) & (np.abs(outer - 0.055) < 0.03)
    ribs &= (np.abs(space.x) > 0.3) & (space.z > -0.5)
    voxels[ribs] = 320 + 120 * rng.random()
    _spine(rng, space, voxels)
    return voxels, np.where(inner > 0, -1, 1).astype(np.float32)


def _spine(rng: np.random.Generator, space: Space, voxels: Floats) -> None:
    """A vertebra's body with cortex, the canal, the processes; discs between them are as bright as organs."""
    body = ellipsoid(space, (0, -0.42, 0), (0.15, 0.125, 50.0))
    disc = np.cos(space.z * rng.uniform(5, 7) + rng.uniform(0, 6)) > 0.75
    marrow = 190 + 50 * smooth_noise3(rng, space.shape, (16, 16, 6))
    voxels[body > 0] = np.where(disc, 95, marrow)[body > 0]
    voxels[(body > 0) & (body < 0.03) & ~disc] = 430
    process = (ellipsoid(space, (0, -0.66, 0), (0.04, 0.11, 50.0)) > 0) | (
        (np.abs(space.y + 0.56) < 0.025) & (np.abs(space.x) < 0.2)
    )
    voxels[process & ~disc] = 380
    voxels[ellipsoid(space, (0, -0.56, 0), (0.055, 0.045, 50.0)) > 0] = 25


def _lungs(rng: np.random.Generator, space: Space, voxels: Floats) -> None:
    """The lungs' lowest tips, behind and above the organs."""
    air = -850 + 40 * smooth_noise3(rng, space.shape, (30, 30, 8))
    low = rng.uniform(0.5, 0.75)
    for side in (-1, 1):
        lung = ellipsoid(space, (side * 0.42, -0.1, low + 0.9), (0.36, 0.46, 0.9)) > 0
        voxels[lung] = air[lung]


def _bowel(rng: np.random.Generator, space: Space, voxels: Floats) -> None:
    """Distractors: loops of gut as bright as organs, some with contrast agent, some with gas."""
    inner = ellipsoid(space, (0, 0, 0), (0.8, 0.62, 50.0))
    for _ in range(int(rng.integers(12, 18))):
        centre = np.array([rng.uniform(-0.6, 0.6), rng.uniform(-0.1, 0.5), rng.uniform(-1.1, 0.0)])
        bend = rng.uniform((-0.25, -0.12, -0.25), (0.25, 0.12, 0.25))
        radius = rng.uniform(0.07, 0.11)
        loop = tube(space, [centre - bend, centre, centre + bend * (1, -1, 1)], radius, 3.0)
        voxels[(loop > -0.025) & (voxels < 0) & (voxels > -200)] = _FAT
        loop = np.where(inner > 0.02, loop, -1)  # none lies in the muscle
        voxels[loop > 0] = rng.uniform(75, 110)  # the wall
        lumen = loop > 0.032
        content = rng.choice((15.0, 45.0, 230.0)) + 45 * smooth_noise3(rng, space.shape, (24, 24, 8))
        voxels[lumen] = content[lumen]
        if rng.random() < 0.5:
            voxels[lumen & (space.y > centre[1] + rng.uniform(-0.03, 0.03))] = -850  # gas rises to the front


def _organs(rng: np.random.Generator, space: Space) -> list[tuple[int, Floats, float]]:
    """Label, depth and brightness of each organ, in the order in which they are painted."""
    give = rng.uniform(0.35, 1.1)  # how much of the contrast agent has arrived

    def put(centre: tuple[float, float, float], radii: tuple[float, float, float], turn: float = 0.0) -> Floats:
        shift, grow = rng.normal(0, (0.02, 0.02, 0.05)), rng.uniform(0.93, 1.08)
        return ellipsoid(space, np.add(centre, shift), np.multiply(radii, grow), turn + rng.normal(0, 0.08))

    def line(points: list[tuple[float, float, float]], radius: float, height: float) -> Floats:
        moved = np.asarray(points) + rng.normal(0, (0.015, 0.015, 0.03), (len(points), 3))
        return tube(space, moved, radius * rng.uniform(0.92, 1.1), height)

    right_lobe = put((0.42, 0.05, 0.42), (0.40, 0.50, 0.95), 0.2)
    left_lobe = put((0.05, 0.30, 0.55), (0.40, 0.20, 0.5), 0.15)
    return [
        (6, np.maximum(right_lobe, left_lobe), 65 + 50 * give),
        (7, put((-0.36, 0.24, 0.3), (0.31, 0.26, 0.8), -0.25), 45.0),
        (1, put((-0.60, -0.16, 0.4), (0.19, 0.36, 0.7), -0.25), 60 + 65 * give),
        (2, put((0.37, -0.32, -0.35), (0.18, 0.19, 0.75), 0.3), 45 + 120 * give),
        (3, put((-0.37, -0.32, -0.25), (0.18, 0.19, 0.75), -0.3), 45 + 120 * give),
        (4, put((0.36, 0.36, -0.15), (0.11, 0.14, 0.34)), 12.0),
        (11, line(_PANCREAS, 0.095, 3.0), 45 + 45 * give),
        (10, line(_PORTAL_VEIN, 0.06, 2.5), 55 + 85 * give),
        (9, line([(0.13, -0.22, -1.2), (0.13, -0.2, 0.2), (0.16, -0.14, 1.2)], 0.09, 1.0), 50 + 70 * give),
        (8, line([(-0.06, -0.23, -1.2), (-0.07, -0.23, 0.3), (-0.1, -0.26, 1.2)], 0.09, 1.0), 90 + 80 * give),
        (5, line([(-0.06, -0.1, 1.2), (-0.1, -0.08, 0.75), (-0.2, 0.0, 0.6)], 0.06, 2.0), 45.0),
        (12, put((0.27, -0.2, 0.3), (0.06, 0.075, 0.22), 0.5), 50 + 40 * give),
        (13, put((-0.24, -0.22, 0.35), (0.06, 0.075, 0.22), -0.5), 50 + 40 * give),
    ]


def _filling(rng: np.random.Generator, label: int, level: float, depth: Floats, space: Space) -> Floats:
    """What is inside an organ: its own mottle; a kidney's bright cortex; food and gas in the stomach."""
    filled = np.float32(level) + 8 * smooth_noise3(rng, space.shape, (14, 14, 6))
    if label in (2, 3):
        filled = filled - 45 * step(depth - 0.055, 0.012)
    if label == 6:
        filled = filled + 22 * (smooth_noise3(rng, space.shape, (11, 11, 4)) > 1.5)
    if label == 7:
        filled = filled + 30 * smooth_noise3(rng, space.shape, (20, 20, 6))
        gas = (depth > 0.03) & (space.y > rng.uniform(0.3, 0.38))
        filled = np.where(gas, np.float32(-880), filled)
    return np.asarray(filled, dtype=np.float32)
