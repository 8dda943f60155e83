"""Small datasets in the layouts of the real ones, prepared: fundus images of odd sizes, and anisotropic scans."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from sdseg.artifacts.image_contract import ImageContract, Structure
from sdseg.config.dataset import Dataset
from sdseg.data.prepare import prepare
from tests.helpers.raw_files import encode, save, write_split

SMALL = ImageContract(modality="rgb", size=32, channels=3, window=(0.0, 255.0))
SPACING = (0.8, 1.1, 3.0)  # mm along x, y, z
ORGANS = (Structure(name="organs", values=tuple(range(1, 14))),)


def prepare_fundus(folder: Path) -> tuple[Path, Path]:
    """Disc and cup: raw files, and the store made of them."""
    raw, masks = folder / "raw", "Disc_Cup_Masks"
    places = {
        "Training400/Glaucoma/g0001": f"Annotation-Training400/{masks}/Glaucoma",
        "Training400/Non-Glaucoma/n0001": f"Annotation-Training400/{masks}/Non-Glaucoma",
        "REFUGE-Validation400/V0001": f"REFUGE-Validation400-GT/{masks}",
        "Test400/T0001": f"REFUGE-Test-GT/{masks}/G",
        "Test400/T0002": f"REFUGE-Test-GT/{masks}/N",
    }
    for number, (name, mask_folder) in enumerate(places.items()):
        write_fundus(raw, name, mask_folder, number)
    split = write_split(
        folder / "split.csv", {"g0001": "train", "n0001": "train", "V0001": "val", "T0001": "test", "T0002": "test"}
    )
    settings = Dataset.model_validate({"source": "refuge2", "size": 32, "target": "disc-cup"})
    prepare(name="eyes", settings=settings, raw=raw, split=split, output=folder / "prepared")
    return raw, folder / "prepared"


def prepare_scans(folder: Path) -> tuple[Path, Path]:
    """Abdomens with one organ: raw files, and the store made of them."""
    for number in range(1, 6):
        write_scan(folder / "raw", number)
    split = write_split(
        folder / "split.csv", {"0001": "train", "0002": "test", "0003": "test", "0004": "test", "0005": "val"}
    )
    settings = Dataset.model_validate({"source": "btcv", "size": 32})
    prepare(name="bellies", settings=settings, raw=folder / "raw", split=split, output=folder / "prepared")
    return folder / "raw", folder / "prepared"


def write_fundus(raw: Path, name: str, mask_folder: str, number: int) -> None:
    """A bright cup in a less bright disc, 90 rows by 60 columns, and its mask, drawn a little off."""
    image, mask = np.full((90, 60, 3), 60, np.uint8), np.full((90, 60), 255, np.uint8)
    for pixels, disc, cup, off in ((image, (150,) * 3, (240,) * 3, 0), (mask, 128, 0, 3)):
        cv2.circle(pixels, (30, 45 + off), 20 + number, disc, -1)
        cv2.circle(pixels, (30, 45), 10 + off, cup, -1)
    encode(raw / f"{name}.jpg", image)
    encode(raw / mask_folder / f"{Path(name).name}.bmp", mask)


def write_scan(raw: Path, number: int) -> None:
    """A dense body in a volume whose axes run left, posterior, superior; case 4 has an empty label."""
    case = f"{number:04d}"
    x, y, z = np.mgrid[:50, :40, :9]
    body = ((x - 24) / (10 + number)) ** 2 + ((y - 18 - number) / 9) ** 2 + ((z - 4) / 3.5) ** 2 < 1
    labels = np.where(np.roll(body, 2, axis=0), 6, 0).astype(np.uint8)
    if number == 4:
        labels[:] = 0
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    save(raw / "RawData" / "Training" / "img" / f"img{case}.nii.gz", np.where(body, 200, -600).astype(np.int16), affine)
    save(raw / "RawData" / "Training" / "label" / f"label{case}.nii.gz", labels, affine)
