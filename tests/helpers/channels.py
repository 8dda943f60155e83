"""Cases of two channels, T1 and T2, of scanners with different scales: arrays, and files as people lay them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from sdseg.core.array_types import AnyArray
from tests.helpers.mr_volumes import SCANNERS, SPLIT, mr_volume
from tests.helpers.raw_files import save, write_split

__all__ = ["NAMES", "two_channels", "write_two_channels"]

NAMES = ("T1", "T2")


def two_channels(number: int, scale: float) -> tuple[tuple[AnyArray, AnyArray], AnyArray]:
    """T1 and T2 [i,j,k] int16 of one head, and its label: what is bright in one is dark in the other."""
    first, label = mr_volume(number, scale)
    second = np.rint(np.maximum(900.0 - first / scale, 0.0) * scale * 2.0).astype(np.int16)
    return (first, second), label


def write_two_channels(folder: Path) -> Path:
    """`raw` in nnU-Net's layout, and `split.csv`, in `folder`."""
    raw = folder / "raw"
    for number, (name, scale) in enumerate(SCANNERS.items()):
        channels, label = two_channels(number, scale)
        for place, voxels in enumerate(channels):
            save(raw / "imagesTr" / f"{name}_{place:04d}.nii.gz", voxels)
        save(raw / "labelsTr" / f"{name}.nii.gz", label)
    described = {
        "channel_names": dict(zip(("0", "1"), NAMES, strict=True)),
        "labels": {"background": 0, "lesion": 1},
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(described), "utf-8")
    write_split(folder / "split.csv", SPLIT)
    return raw
