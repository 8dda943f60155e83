"""Phantom of no dataset but of many: heads in T1 and T2 by scanners without a common scale, as nnU-Net lays them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sdseg.core.files import write_json
from sdseg.datasets.phantoms.canvas import Floats
from sdseg.datasets.phantoms.files import PhantomCase, share_out, write_volume
from sdseg.datasets.phantoms.solids import Space, ellipsoid, make_space, oriented, rounded, smooth_noise3

__all__ = ["write"]

_VOLUMES = 20
_DATASET = 8  # part of every case's seed
_CODES = ("LPS", "RAS", "LAS")
_SHAPE = (64, 72, 8)  # voxels to the right, front and head
_SPACING = (3.0, 3.0, 6.0)  # mm
_SCALES = (1.0, 4.0)  # of scanners, least and most
_UNIT = (260.0, 340.0)  # of T1 and T2: the brightness of fat, and of liquor, by the least scanner
LESION, VENTRICLE = 1, 2
# Brightness in T1 and T2. A lesion looks like grey matter in one and like liquor in the other: it takes both.
_TISSUES = {
    "air": (0.0, 0.0),
    "scalp": (1.0, 0.55),
    "liquor": (0.14, 1.0),
    "grey": (0.46, 0.60),
    "white": (0.74, 0.40),
    "lesion": (0.45, 0.97),
}


def write(folder: Path, seed: int, scale: float) -> list[PhantomCase]:
    """Write imagesTr, labelsTr and dataset.json; one case and one group per head, six at least."""
    cases = []
    count = max(6, round(_VOLUMES * scale))
    for number, split in enumerate(share_out(count, 0.15, 0.25), start=1):
        rng = np.random.default_rng([seed, _DATASET, number])
        tissue, labels = _head(rng)
        # Scanners take turns, so that a few heads show them all.
        strength = _SCALES[0] * (_SCALES[1] / _SCALES[0]) ** ((number * 3 % 7) / 6)
        channels = [_seen(rng, tissue, place, strength * _UNIT[place]) for place in range(2)]
        (*channels, labels), affine = oriented((*channels, labels), _SPACING, _CODES[number % len(_CODES)])
        name = f"head_{number:03d}"
        for place, voxels in enumerate(channels):
            write_volume(folder / "imagesTr" / f"{name}_{place:04d}.nii.gz", voxels, affine)
        write_volume(folder / "labelsTr" / f"{name}.nii.gz", labels, affine)
        cases.append(PhantomCase(name, name, split))
    described = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "lesion": LESION, "ventricle": VENTRICLE},
        "numTraining": count,
        "file_ending": ".nii.gz",
    }
    write_json(folder / "dataset.json", described)
    return cases


def _head(rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """The tissue of each voxel, as a number in `_TISSUES`, and labels, [X,Y,Z] in RAS order."""
    space = make_space(rng, _SHAPE, 0.05)
    names = {name: number for number, name in enumerate(_TISSUES)}
    tissue = np.full(_SHAPE, names["air"])
    tissue[ellipsoid(space, (0, 0, 0), (0.92, 0.94, 3.0)) > 0] = names["scalp"]
    tissue[ellipsoid(space, (0, 0, 0), (0.84, 0.86, 3.0)) > 0] = names["liquor"]
    depth = ellipsoid(space, (0, 0, 0), (0.79, 0.81, 3.0))
    folds = 0.05 * smooth_noise3(rng, _SHAPE, (9, 9, 3))  # of the cortex
    tissue[depth + folds > 0] = names["grey"]
    tissue[depth + 1.6 * folds > 0.13] = names["white"]
    labels = np.zeros(_SHAPE, dtype=np.uint8)
    for side in (-1, 1):
        size = rng.uniform(0.85, 1.3)
        centre = (side * 0.13, rng.uniform(-0.06, 0.12), rng.uniform(-0.2, 0.2))
        inside = ellipsoid(space, centre, (0.075 * size, 0.27 * size, 0.75), side * rng.uniform(0.1, 0.4)) > 0
        tissue[inside], labels[inside] = names["liquor"], VENTRICLE
    for kind, count in (
        ("lesion", int(rng.integers(2, 5))),
        ("liquor", 2),
        ("grey", 3),
    ):  # cysts and stray cortex mislead
        for _ in range(count):
            inside = _spot(rng, space) & (tissue == names["white"])
            tissue[inside] = names[kind]
            labels[inside & (kind == "lesion")] = LESION
    return tissue, labels


def _spot(rng: np.random.Generator, space: Space) -> npt.NDArray[np.bool_]:
    """A small ellipsoid somewhere in the white matter."""
    angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0.3, 0.55)
    centre = (reach * math.cos(angle), reach * math.sin(angle), rng.uniform(-0.7, 0.7))
    radii = (*rng.uniform(0.09, 0.17, 2), rng.uniform(0.3, 0.5))
    return np.asarray(ellipsoid(space, centre, radii, rng.uniform(0, math.pi)) > 0)


def _seen(rng: np.random.Generator, tissue: npt.NDArray[np.int64], sequence: int, unit: float) -> npt.NDArray[np.int16]:
    """What a scanner makes of tissues in one sequence: mottled, brighter to one side, noisy, in units of its own."""
    levels = np.array([brightness[sequence] for brightness in _TISSUES.values()], dtype=np.float32)
    voxels: Floats = levels[tissue]
    voxels = voxels * (1 + 0.05 * smooth_noise3(rng, _SHAPE, (14, 14, 4)))
    bias = np.exp(0.16 * smooth_noise3(rng, _SHAPE, (2, 2, 1)))
    grain = ndimage.gaussian_filter(rng.standard_normal(_SHAPE).astype(np.float32), (0.5, 0.5, 0))
    seen = voxels * bias + 0.035 * grain / grain.std()
    return rounded(np.asarray(np.abs(seen) * unit, dtype=np.float32), 0.5, 0, 32767)
