"""Phantom of Kvasir-SEG: JPEG images of many sizes and masks that are JPEG too, hence not quite 0 and 255."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sdseg.datasets.phantoms.endoscopy import Frame, View, draw_scene, photograph
from sdseg.datasets.phantoms.files import PhantomCase, share_out, write_picture

__all__ = ["write"]

_IMAGES = 300
_DATASET = 2  # part of every case's seed
_LETTERS = list("0123456789abcdefghijklmnopqrstuvwxyz")


def write(folder: Path, seed: int, scale: float) -> list[PhantomCase]:
    """Write the pairs; one case and one group per image."""
    cases = []
    for number, split in enumerate(share_out(max(10, round(_IMAGES * scale)), 0.1, 0.12), start=1):
        rng = np.random.default_rng([seed, _DATASET, number])
        name = "cju" + "".join(rng.choice(_LETTERS, 22))
        height, width = int(rng.integers(128, 181)), int(rng.integers(150, 221))
        centre, lamp = rng.uniform((-0.2, -0.3), (0.2, 0.3)), rng.uniform((-0.4, -0.5), (0.4, 0.5))
        frame = Frame(height, width, centre=(float(centre[0]), float(centre[1])))
        scene = draw_scene(rng, frame, rng.uniform(0.2, 0.36))
        view = View(
            shift=(0.0, 0.0),
            turn=0.0,
            zoom=1.0,
            lamp=(float(lamp[0]), float(lamp[1])),
            power=rng.uniform(1.1, 2.6),
            warmth=rng.uniform(0.9, 1.12),
        )
        picture, mask = photograph(rng, scene, view, frame)
        if rng.random() < 0.35:  # the processor's inset at the lower left, as in many of the real images
            rows, columns = round(height * rng.uniform(0.12, 0.26)), round(width * rng.uniform(0.14, 0.28))
            picture[-rows:, :columns] = rng.integers(2, 9)
            mask[-rows:, :columns] = False
        write_picture(folder / "Kvasir-SEG" / "images" / f"{name}.jpg", picture, quality=90)
        write_picture(folder / "Kvasir-SEG" / "masks" / f"{name}.jpg", (mask * 255).astype(np.uint8), quality=97)
        cases.append(PhantomCase(name, name, split))
    return cases
