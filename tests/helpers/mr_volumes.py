"""MR phantoms in nnU-Net's layout: a head seen by scanners of different scales, each with its own bias field."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from sdseg.core.array_types import AnyArray
from tests.helpers.raw_files import save, write_split

SIDE, DEPTH = 32, 3
SCANNERS = {"a": 1.0, "b": 3.9, "c": 0.4, "d": 2.0}  # case -> scale
SPLIT = {"a": "train", "b": "train", "c": "val", "d": "test"}


def mr_volume(number: int, scale: float) -> tuple[AnyArray, AnyArray]:
    """A head [i,j,k] in air, brighter to one side, with a lesion; int16, and its label."""
    generator = np.random.default_rng(number)
    x, y, z = np.mgrid[:SIDE, :SIDE, :DEPTH]
    head = np.hypot(x - 16, y - 15) < 13
    label = (np.hypot(x - 12 - number, y - 16) < 5) & (z > 0)
    tissue = np.where(label, 420.0, np.where(head, 180.0, 0.0)) + head * generator.normal(0, 12, head.shape)
    bias = 1 + 0.3 * np.sin(x / 20 + number) * np.cos(y / 25)
    return np.rint(np.maximum(tissue * bias * scale, 0)).astype(np.int16), label.astype(np.uint8)


def write_mr(folder: Path) -> Path:
    """`raw` and `split.csv` in `folder`."""
    raw = folder / "raw"
    for number, (name, scale) in enumerate(SCANNERS.items()):
        voxels, label = mr_volume(number, scale)
        save(raw / "imagesTr" / f"{name}_0000.nii.gz", voxels)
        save(raw / "labelsTr" / f"{name}.nii.gz", label)
    described = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "lesion": 1}, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(described), "utf-8")
    write_split(folder / "split.csv", SPLIT)
    return raw
