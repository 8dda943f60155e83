"""Phantom of REFUGE2: JPEG photographs of the optic disc, BMP masks with 0 cup, 128 disc, 255 background."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sdseg.datasets.phantoms.files import PhantomCase, write_picture
from sdseg.datasets.phantoms.fundus import draw_fundus

__all__ = ["write"]

_COUNTS = {"train": 200, "val": 30, "test": 40}
_EVERY = 3  # one eye in so many has glaucoma
_DATASET = 3  # part of every case's seed


def write(folder: Path, seed: int, scale: float) -> list[PhantomCase]:
    """Write the three folders; one case and one group per photograph, the folder is the split."""
    cases = []
    for split, usual in _COUNTS.items():
        for index in range(max(3, round(usual * scale))):
            glaucoma = index % _EVERY == 0
            name, picture, mask = _places(split, glaucoma, index)
            # The name is the seed: a photograph stays as it is whatever the number of others.
            rng = np.random.default_rng([seed, _DATASET, "gnVT".index(name[0]), int(name[1:])])
            pixels, labels = draw_fundus(rng, glaucoma)
            write_picture(folder / picture, pixels, quality=93)
            write_picture(folder / mask, labels)
            cases.append(PhantomCase(name, name, split))
    return cases


def _places(split: str, glaucoma: bool, index: int) -> tuple[str, Path, Path]:
    """File stem, picture and mask of a photograph, as the three archives name them."""
    if split == "train":
        kind, letter = ("Glaucoma", "g") if glaucoma else ("Non-Glaucoma", "n")
        before = -(-index // _EVERY)  # eyes with glaucoma among those before this one: the two kinds count apart
        name = f"{letter}{(before if glaucoma else index - before) + 1:04d}"
        masks = Path("Annotation-Training400", "Disc_Cup_Masks", kind)
        return name, Path("Training400", kind, f"{name}.jpg"), masks / f"{name}.bmp"
    if split == "val":
        name = f"V{index + 1:04d}"
        masks = Path("REFUGE-Validation400-GT", "Disc_Cup_Masks")
        return name, Path("REFUGE-Validation400", f"{name}.jpg"), masks / f"{name}.bmp"
    name = f"T{index + 1:04d}"
    masks = Path("REFUGE-Test-GT", "Disc_Cup_Masks", "G" if glaucoma else "N")
    return name, Path("Test400", f"{name}.jpg"), masks / f"{name}.bmp"
