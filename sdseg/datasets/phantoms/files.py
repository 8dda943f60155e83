"""Phantom files: the same arrays always give the same bytes."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import numpy.typing as npt

from sdseg.core.array_types import AnyArray

__all__ = ["PhantomCase", "share_out", "write_picture", "write_volume"]


@dataclass(frozen=True)
class PhantomCase:
    """A row of `split.csv`."""

    id: str
    group: str
    split: str  # "train", "val" or "test"


def share_out(count: int, val: float, test: float) -> list[str]:
    """The split of `count` ≥ 3 groups in order: train first, then val, then test.

    `val` and `test` are shares; each of the two gets one group at least, two where there are six groups or more.
    """
    least = 2 if count >= 6 else 1
    n_val, n_test = max(least, round(val * count)), max(least, round(test * count))
    return ["train"] * (count - n_val - n_test) + ["val"] * n_val + ["test"] * n_test


def write_picture(path: Path, pixels: npt.NDArray[np.uint8], quality: int = 95) -> None:
    """Write [H,W] grey or [H,W,3] RGB pixels as PNG, JPEG or BMP by the suffix; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ordered = pixels[:, :, ::-1] if pixels.ndim == 3 else pixels  # OpenCV writes blue first
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else []
    # Encoding to memory, because OpenCV itself cannot open every path that Python can.
    encoded, data = cv2.imencode(path.suffix, np.ascontiguousarray(ordered), options)
    if not encoded:
        raise ValueError(f"OpenCV cannot encode {path.suffix} from {pixels.dtype} {pixels.shape}")
    path.write_bytes(data.tobytes())


def write_volume(path: Path, voxels: AnyArray, affine: npt.NDArray[np.float64]) -> None:
    """Write voxels [X,Y,Z] as gzipped NIfTI-1 in millimetres, without a time stamp or file name inside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=1, mtime=0) as file:
        file.write(image.to_bytes())
