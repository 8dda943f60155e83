"""Phantom of STS-3D: cone-beam CT of jaws with teeth, bone of the same brightness, metal, streaks and scatter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdseg.datasets.phantoms.canvas import Floats
from sdseg.datasets.phantoms.files import PhantomCase, share_out, write_volume
from sdseg.datasets.phantoms.solids import Space, ellipsoid, make_space, oriented, rounded, smooth_noise3

__all__ = ["write"]

_VOLUMES = 12
_DATASET = 5  # part of every case's seed
_LOW, _HIGH = -1000, 3095  # what the scanners write
_TEETH = 8  # per jaw: fewer and thicker than in a mouth, so that they survive being made small


@dataclass(frozen=True)
class _Arch:
    """The curve along which teeth stand: a half ellipse that opens to the back."""

    width: float
    depth: float
    front: float  # y of the incisors
    along: Floats  # [X,Y,Z] -1…1 from the right-most molar to the left-most
    across: Floats  # [X,Y,Z] distance from the curve, positive to the outside


def write(folder: Path, seed: int, scale: float) -> list[PhantomCase]:
    """Write images and labels; one case and one group per volume."""
    cases = []
    for number, split in enumerate(share_out(max(6, round(_VOLUMES * scale)), 0.15, 0.25), start=1):
        rng = np.random.default_rng([seed, _DATASET, number])
        shape = (88, 88, int(rng.integers(24, 33)))
        voxels, labels = _jaws(rng, shape)
        side = float(rng.choice((0.8, 0.85, 0.9)))
        (voxels, labels), affine = oriented((voxels, labels), (side, side, side * 1.5), "LPS" if number % 3 else "RAS")
        name = f"{number:04d}"
        write_volume(folder / "labelled" / "image" / f"Teeth_{name}_0000.nii.gz", voxels, affine)
        write_volume(folder / "labelled" / "label" / f"Teeth_{name}_0000.nii.gz", labels, affine)
        cases.append(PhantomCase(name, name, split))
    return cases


def _jaws(rng: np.random.Generator, shape: tuple[int, int, int]) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """Voxels and labels, [X,Y,Z] in RAS order."""
    space = make_space(rng, shape, 0.025)
    arch = _arch(rng, space)
    voxels = _tissue(rng, space, arch)
    labels = np.zeros(shape, dtype=np.uint8)
    metal = np.zeros(shape, dtype=np.bool_)
    fillings = 3 if rng.random() < 0.6 else 0
    spots = rng.choice(2 * _TEETH, fillings, replace=False)
    for index in range(2 * _TEETH):
        depth, tall = _tooth(rng, space, arch, index)
        _paint_tooth(rng, voxels, labels, depth, tall)
        if index in spots:
            metal |= (depth > 0.02) & (tall < 0.25)
    voxels = _scan(rng, space, voxels, metal)
    return rounded(voxels, 0.5, _LOW, _HIGH), labels


def _arch(rng: np.random.Generator, space: Space) -> _Arch:
    width, depth = rng.uniform(0.68, 0.76), rng.uniform(1.15, 1.32)
    front = rng.uniform(0.72, 0.79)
    u, v = space.x / np.float32(width), (space.y - np.float32(front - depth)) / np.float32(depth)
    radius = np.sqrt(u * u + v * v)
    # Even steps along the curve, not in its angle: the sides of the ellipse are longer than its front.
    angles = np.linspace(0, np.pi * 0.75, 200)
    length = np.cumsum(np.hypot(width * np.cos(angles), depth * np.sin(angles)))
    length = (length - length[0]) / np.interp(np.pi / 2, angles, length - length[0])
    turn = np.arctan2(u, v)
    along = np.sign(turn) * np.interp(np.abs(turn), angles, length)
    # Distance from the ellipse to first order: the level divided by its slope.
    slope = np.sqrt((u / width) ** 2 + (v / depth) ** 2) / np.maximum(radius, 1e-3)
    across = (radius - 1) / np.maximum(slope, 0.3)
    return _Arch(width, depth, front, along.astype(np.float32), across.astype(np.float32))


def _tissue(rng: np.random.Generator, space: Space, arch: _Arch) -> Floats:
    """Face, tongue, airways, both jaws' bone and the neck's vertebra, before teeth."""
    soft = 60 + 60 * smooth_noise3(rng, space.shape, (5, 5, 3))
    face = ellipsoid(space, (0, -0.15, 0), (1.06, 1.16, 50.0))
    voxels = np.where(face > 0, soft, np.float32(-980))
    mouth = (np.abs(space.z - rng.uniform(0.02, 0.1)) < 0.12) & (arch.across < -0.2) & (space.y > -0.25)
    voxels[mouth & (smooth_noise3(rng, space.shape, (6, 6, 3)) > 0.2)] = -900
    throat = ellipsoid(space, (0, -0.48, 0), (0.2, 0.09, 50.0)) > 0
    voxels[throat] = -930
    spongy = rng.uniform(550, 850) + 260 * smooth_noise3(rng, space.shape, (26, 26, 8))
    plate = rng.uniform(1350, 1750) + 120 * smooth_noise3(rng, space.shape, (12, 12, 6))
    thick = 0.28 + 0.03 * smooth_noise3(rng, space.shape, (5, 5, 3))
    ridge = np.clip((np.abs(space.z) - 0.36) / 0.12, 0, 1)  # the jaws begin below and above the crowns
    jaw = thick * ridge - np.abs(arch.across)
    jaw = np.where((space.y > -0.55) & (ridge > 0), jaw, -1)
    voxels[jaw > 0] = spongy[jaw > 0]
    voxels[(jaw > 0) & (jaw < 0.06)] = plate[(jaw > 0) & (jaw < 0.06)]
    palate = (np.abs(space.z - 0.78) < 0.1) & (arch.across < 0) & (space.y > -0.4)
    voxels[palate] = plate[palate] * 0.8
    bone = ellipsoid(space, (0, -0.83, 0), (0.26, 0.17, 50.0))
    voxels[bone > 0] = spongy[bone > 0]
    voxels[(bone > 0) & (bone < 0.05)] = plate[(bone > 0) & (bone < 0.05)]
    return voxels.astype(np.float32)


def _tooth(rng: np.random.Generator, space: Space, arch: _Arch, index: int) -> tuple[Floats, Floats]:
    """Depth inside one tooth, and distance from the biting edge towards the root, [X,Y,Z] each."""
    upper, place = divmod(index, _TEETH)
    middle = (place + 0.5) / _TEETH * 2 - 1
    molar = abs(middle) ** 1.5
    sign = 1.0 if upper else -1.0
    tall = sign * space.z - np.float32(0.02)
    half_width = rng.uniform(1.04, 1.1) / _TEETH  # along the arch, in its own units
    thick = (0.17 + 0.03 * molar) * rng.uniform(0.95, 1.08)
    # Crowns touch their neighbours; below the neck a root is a third narrower, so that gaps are wide or absent.
    root = np.clip((tall - 0.42) / 0.06, 0, 1)
    taper = 1 - 0.3 * root
    long = rng.uniform(0.72, 0.85)
    lean = rng.normal(0, 0.006)
    u = (arch.along - np.float32(middle + lean)) / (np.float32(half_width) * taper)
    v = (arch.across - np.float32(rng.normal(0, 0.012))) / (np.float32(thick) * (1 - 0.1 * root))
    w = np.clip(np.abs(tall - long / 2) / np.float32(long / 2), 0, 2) ** 6
    depth = (1 - (np.abs(u) ** 3 + np.abs(v) ** 3 + w) ** (1 / 3)) * thick
    return np.where(tall > 0, depth, -1).astype(np.float32), tall


def _paint_tooth(
    rng: np.random.Generator, voxels: Floats, labels: npt.NDArray[np.uint8], depth: Floats, tall: Floats
) -> None:
    """Enamel over the crown, dentine, pulp, and the dark seam that parts the root from its socket."""
    inside = depth > 0
    seam = (depth > -0.03) & ~inside & (tall > 0.2) & (labels == 0)
    voxels[seam] = np.minimum(voxels[seam], 350)
    dentine = rng.uniform(1450, 1750)
    value = np.where((tall < 0.3) & (depth < 0.045), np.float32(rng.uniform(2100, 2600)), np.float32(dentine))
    value = np.where((depth > 0.075) & (tall > 0.12), np.float32(rng.uniform(800, 1200)), value)
    voxels[inside] = value[inside]
    labels[inside] = 1


def _scan(rng: np.random.Generator, space: Space, voxels: Floats, metal: npt.NDArray[np.bool_]) -> Floats:
    """The scanner's share: metal and its streaks, scatter, cupping, noise, the round field of view."""
    voxels = voxels + np.where(metal, 2600, 0).astype(np.float32)
    for level in np.flatnonzero(metal.any(axis=(0, 1))):
        spots = np.argwhere(metal[:, :, level]).mean(axis=0) / np.array(metal.shape[:2]) * 2 - 1
        dx, dy = space.x[:, :, level] - spots[0], space.y[:, :, level] - spots[1]
        angle, away = np.arctan2(dy, dx), np.sqrt(dx * dx + dy * dy)
        rays = np.sin(angle * rng.integers(7, 15) + rng.uniform(0, 6)) * np.exp(-2.2 * away)
        voxels[:, :, level] += (np.float32(420) * rays * (away > 0.1)).astype(np.float32)
    radius = np.sqrt(space.x**2 + space.y**2)
    voxels = voxels * np.float32(rng.uniform(0.85, 1.05)) + 110 * smooth_noise3(rng, space.shape, (2, 2, 2))
    voxels = voxels - np.float32(rng.uniform(0, 160)) * (1 - radius**2)  # cupping
    voxels = voxels + rng.normal(0, rng.uniform(80, 130), voxels.shape).astype(np.float32)
    return np.where(radius < 1.02, voxels, np.float32(_LOW)).astype(np.float32)
