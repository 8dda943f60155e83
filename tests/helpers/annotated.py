"""Small datasets that several annotators drew, as a user might have them, and prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sdseg.config.dataset import Dataset
from sdseg.core.settings import parse
from sdseg.data.prepare import prepare
from tests.helpers.raw_files import SIX, encode, write_split

READERS = ("anna", "ben", "cleo")
OWN = {
    "layout": "folders",
    "modality": "rgb",
    "images": "images",
    "labels": {1: "nodule"},
    "mask_values": {255: 1},
    "annotators": {name: f"masks/{name}" for name in READERS},
}


def drawn(number: int, reader: int, side: int = 32) -> np.ndarray:
    """A square that grows from reader to reader; the third sees nothing in every second case."""
    mask = np.zeros((side, side), np.uint8)
    if reader < 2 or number % 2:
        mask[8 : 14 + 2 * reader, 8 + number : 14 + number] = 255
    return mask


def write_annotated(raw: Path, cases: tuple[str, ...] = tuple(SIX), side: int = 32) -> Path:
    """Images, and a folder of masks for each reader."""
    for number, case in enumerate(cases):
        noise = np.random.default_rng(number).integers(0, 90, (side, side, 3), dtype=np.uint8)
        noise[drawn(number, 1, side) > 0] += 120
        encode(raw / "images" / f"{case}.png", noise)
        for reader, name in enumerate(READERS):
            encode(raw / "masks" / name / f"{case}.png", drawn(number, reader, side))
    return raw


def annotated_settings(**changes: Any) -> Dataset:
    own = {**OWN, **changes.pop("own", {})}
    return parse(Dataset, {"source": "own", "size": 32, "own": own, **changes}, where="my.yaml")


def prepare_annotated(folder: Path, **changes: Any) -> tuple[Path, Path]:
    """Raw files of three readers, and the store made of them."""
    raw = write_annotated(folder / "raw")
    split = write_split(folder / "split.csv", SIX)
    prepare(name="nodules", settings=annotated_settings(**changes), raw=raw, split=split, output=folder / "prepared")
    return raw, folder / "prepared"
