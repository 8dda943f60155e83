"""Tiny raw datasets for tests, written with OpenCV and nibabel directly, in the layouts of the real archives."""

from __future__ import annotations

import locale
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pydicom
import SimpleITK
from pydicom.uid import UID

from sdseg.artifacts.image_contract import ImageContract
from sdseg.core.array_types import AnyArray
from sdseg.datasets.sources import Source

LPS = np.array([[-2.0, 0, 0, 10], [0, -3.0, 0, 20], [0, 0, 5.0, -30], [0, 0, 0, 1]])
SIX = {"a": "train", "b": "train", "c": "train", "d": "val", "e": "test", "f": "test"}


def contract(source: Source, size: int) -> ImageContract:
    """What `prepare` would read the files of a dataset for."""
    channels = 1 if source.modality == "ct" else 3
    return ImageContract(modality=source.modality, size=size, channels=channels, window=source.window(None))


def encode(path: Path, pixels: AnyArray) -> Path:
    """Write an image whatever letters its path has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix, pixels)
    assert done
    path.write_bytes(data.tobytes())
    return path


def write_split(path: Path, splits: Mapping[str, str]) -> Path:
    """A split file in which every case is its own group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["id,group,split", *(f"{case},{case},{split}" for case, split in splits.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def picture(seed: int, height: int, width: int) -> tuple[AnyArray, AnyArray]:
    """A noisy colour image (BGR) and a mask with one ellipse, 0 and 255."""
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (width // 4, height // 5), 20.0 * seed, 0, 360, 255, -1)
    return noise, mask


def write_kseg(raw: Path, ids: Sequence[str] = tuple(SIX)) -> Path:
    """Kvasir-SEG: JPEG images of differing sizes and JPEG masks."""
    for number, case in enumerate(ids):
        image, mask = picture(number, 40 + 4 * number, 56 - 2 * number)
        encode(raw / "Kvasir-SEG" / "images" / f"{case}.jpg", image)
        encode(raw / "Kvasir-SEG" / "masks" / f"{case}.jpg", mask)
    return raw


def write_cvc(raw: Path, count: int) -> Path:
    """CVC-ClinicDB as on Kaggle: PNG frames numbered from 1."""
    for number in range(1, count + 1):
        image, mask = picture(number, 36, 48)
        encode(raw / "PNG" / "Original" / f"{number}.png", image)
        encode(raw / "PNG" / "Ground Truth" / f"{number}.png", mask)
    return raw


def write_refuge2(raw: Path) -> Path:
    """One image of each folder of REFUGE2; BMP masks with 0 cup, 128 disc, 255 background."""
    masks = "Disc_Cup_Masks"
    places = {
        "Training400/Glaucoma/g0001": f"Annotation-Training400/{masks}/Glaucoma",
        "Training400/Non-Glaucoma/n0001": f"Annotation-Training400/{masks}/Non-Glaucoma",
        "REFUGE-Validation400/V0001": f"REFUGE-Validation400-GT/{masks}",
        "Test400/T0001": f"REFUGE-Test-GT/{masks}/G",
        "Test400/T0002": f"REFUGE-Test-GT/{masks}/N",
    }
    for number, (image, folder) in enumerate(places.items()):
        pixels, _ = picture(number, 48, 48)
        mask = np.full((48, 48), 255, np.uint8)
        cv2.circle(mask, (24, 24), 12, 128, -1)
        cv2.circle(mask, (24, 24), 5, 0, -1)
        encode(raw / f"{image}.jpg", pixels)
        encode(raw / folder / f"{image.rsplit('/', 1)[-1]}.bmp", mask)
    return raw


def write_btcv(raw: Path, depths: Mapping[str, int], shape: tuple[int, int] = (20, 16)) -> Path:
    """BTCV abdomen: volumes in HU whose labels are boxes of ids 1 to 13, axes left-posterior-superior."""
    for number, (case, depth) in enumerate(depths.items()):
        generator = np.random.default_rng(number)
        voxels = generator.integers(-1000, 1500, (*shape, depth)).astype(np.int16)
        labels = np.zeros(voxels.shape, np.uint8)
        labels[4:16, 4:12] = generator.integers(0, 14, depth)
        save(raw / "RawData" / "Training" / "img" / f"img{case}.nii.gz", voxels)
        save(raw / "RawData" / "Training" / "label" / f"label{case}.nii.gz", labels)
    return raw


def save(path: Path, voxels: AnyArray, affine: AnyArray = LPS) -> Path:
    """Write a NIfTI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def write_series(
    folder: Path,
    voxels: AnyArray,
    *,
    spacing: tuple[float, float, float] = (2.0, 3.0, 5.0),
    origin: AnyArray | Sequence[float] = (10.0, -20.0, -30.0),
    directions: AnyArray | None = None,
    names: Sequence[str] | None = None,
    **tags: str,
) -> Path:
    """A DICOM series of CT slices from voxels [column,row,slice], written by GDCM.

    `spacing` lies between columns, rows and slices; `directions` has them as columns, LPS; `tags` are laid over all
    slices, named like t0008_0060. With a class (t0008_0016) that and the modality are set afterwards: whether
    GDCM writes an MR slice as one of many frames depends on whether it has read any file before.
    """
    afterwards = [tags.pop(name, None) for name in ("t0008_0016", "t0008_0060")] if "t0008_0016" in tags else []
    across = np.eye(3) if directions is None else np.asarray(directions)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(voxels.shape[2]):
        place = np.asarray(origin) + across[:, 2] * spacing[2] * number
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels[:, :, number].T)[None])
        image.SetSpacing((spacing[0], spacing[1], spacing[2]))
        values = {
            "0008|0060": "CT",
            "0008|103e": "abdomen",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.1",
            "0020|0032": "\\".join(f"{value:.6f}" for value in place),
            "0020|0037": "\\".join(f"{value:.6f}" for value in (*across[:, 0], *across[:, 1])),
            "0028|1052": "-1024",
            "0028|1053": "1",
            **{name[1:].replace("_", "|"): value for name, value in tags.items()},
        }
        for tag, value in values.items():
            image.SetMetaData(tag, value)
        writer = SimpleITK.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")  # whatever the name of the file
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / (names[number] if names else f"{number:03d}.dcm")))
        before = locale.setlocale(locale.LC_ALL)
        writer.Execute(image)
        locale.setlocale(locale.LC_ALL, before)  # the writer leaves the C locale behind, for the tests that follow too
        if afterwards:
            path = folder / (names[number] if names else f"{number:03d}.dcm")
            one = pydicom.dcmread(path)
            one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = UID(str(afterwards[0]))
            one.Modality = afterwards[1] or one.Modality
            one.save_as(path)
    return folder
