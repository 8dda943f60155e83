"""Phantom of REFUGE2: JPEG photographs of the optic disc, BMP masks with 0 cup, 128 disc, 255 background."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sdseg.data.phantoms.files import Case, write_picture
from sdseg.data.phantoms.fundus import draw_fundus

__all__ = ["write"]

_TRAIN, _VAL, _TEST = 200, 30, 40
_GLAUCOMA_SHARE = 0.3
_DATASET = 3  # part of every case's seed


def write(folder: Path, seed: int, scale: float) -> list[Case]:
    """Write the three folders; one case and one group per photograph, the folder is the split."""
    cases = []
    number = 0  # of the case, through all folders
    for split, count in (("train", _TRAIN), ("val", _VAL), ("test", _TEST)):
        wanted = max(4 if split == "train" else 2, round(count * scale))
        sick = max(1, round(wanted * _GLAUCOMA_SHARE))
        for index in range(wanted):
            glaucoma = index < sick
            name, picture, mask = _places(split, glaucoma, index if glaucoma or split != "train" else index - sick)
            number += 1
            # The folder, not the running number, is part of the seed: other counts leave each photograph as it is.
            rng = np.random.default_rng([seed, _DATASET, "gnVT".index(name[0]), int(name[1:])])
            pixels, labels = draw_fundus(rng, rng.random() < _GLAUCOMA_SHARE if split == "val" else glaucoma)
            write_picture(folder / picture, pixels, quality=93)
            write_picture(folder / mask, labels)
            cases.append(Case(name, name, split))
    return cases


def _places(split: str, glaucoma: bool, index: int) -> tuple[str, Path, Path]:
    """File stem, picture and mask of a photograph, as the three archives name them."""
    if split == "train":
        kind, letter = ("Glaucoma", "g") if glaucoma else ("Non-Glaucoma", "n")
        name = f"{letter}{index + 1:04d}"
        masks = Path("Annotation-Training400", "Disc_Cup_Masks", kind)
        return name, Path("Training400", kind, f"{name}.jpg"), masks / f"{name}.bmp"
    if split == "val":
        name = f"V{index + 1:04d}"
        masks = Path("REFUGE-Validation400-GT", "Disc_Cup_Masks")
        return name, Path("REFUGE-Validation400", f"{name}.jpg"), masks / f"{name}.bmp"
    name = f"T{index + 1:04d}"
    masks = Path("REFUGE-Test-GT", "Disc_Cup_Masks", "G" if glaucoma else "N")
    return name, Path("Test400", f"{name}.jpg"), masks / f"{name}.bmp"
