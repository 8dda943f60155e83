"""Files of a user's own for `predict`, and what came of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.helpers.raw_files import encode
from tests.helpers.tiny import RGB, picture


def report(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "predict.json").read_text("utf-8")))


def read(path: Path) -> np.ndarray:
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return np.asarray(pixels)


def photos(folder: Path, count: int, size: int = 40) -> Path:
    for number in range(count):
        encode(folder / f"{number:03d}.bmp", picture(RGB, number % 7, size=size)[0])
    return folder


def scan(slices: int = 5) -> np.ndarray:
    """[i,j,k] with a dense block off the centre."""
    voxels = np.full((30, 26, slices), -120, np.int16)
    voxels[16:27, 4:15, 1:] = 150
    return voxels
