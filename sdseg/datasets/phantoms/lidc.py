"""Phantom of LIDC-IDRI: pieces of lung in CT with small nodules, which four readers outlined, each as he saw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from sdseg.datasets.lidc_xml import READERS
from sdseg.datasets.phantoms.canvas import Floats, blur, fine_noise, smooth_noise, step, winding_lines
from sdseg.datasets.phantoms.files import PhantomCase, share_out

__all__ = ["write"]

_PATIENTS, _FRAMES = 24, 6
_DATASET = 6  # part of every case's seed
_SIDE, _PIXEL, _STEP = 96, 0.7, 1.25  # pixels, mm between them, mm between slices
_MARGIN = 2  # slices without a nodule at each end
_ROOT = "1.2.826.0.1.3680043.8.498"  # pydicom's own, for UIDs that are nobody's
_TEXTURE = "<characteristics><texture>5</texture></characteristics>"
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Nodule:
    """An ellipsoid, and what each reader makes of it: None where he sees none."""

    first: int  # slice
    count: int  # slices
    middle: tuple[float, float]  # row, column
    radius: float  # pixels
    density: float  # HU
    readers: tuple[tuple[float, float, float] | None, ...]  # growth, and shift of row and column
    hole: bool  # the first who sees it marks a cavity

    @property
    def slices(self) -> range:
        return range(self.first, self.first + self.count)

    def inside(self, number: int, growth: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Floats:
        """How deep each pixel of a slice lies below the surface, in pixels, [rows,columns]."""
        off = (number - self.first - (self.count - 1) / 2) / (self.count / 2 + 0.5)
        radius = max(1.3, self.radius * growth * float(np.sqrt(1 - off**2)))
        y, x = np.mgrid[:_SIDE, :_SIDE].astype(np.float32)
        distance = np.hypot(y - self.middle[0] - shift[0], (x - self.middle[1] - shift[1]) * 0.9)
        return np.asarray(radius - distance, dtype=np.float32)


def write(folder: Path, seed: int, scale: float) -> list[PhantomCase]:
    """Write a series and its XML for each patient; a case is a slice with a nodule, a group is a patient."""
    frames = max(2, round(_FRAMES * min(scale, 1)))
    cases = []
    for number, split in enumerate(share_out(max(6, round(_PATIENTS * scale)), 0.15, 0.25), start=1):
        rng = np.random.default_rng([seed, _DATASET, number])
        patient, study, series = (f"LIDC-IDRI-{number:04d}", *(f"{_ROOT}.{seed}.{number}.{kind}" for kind in (1, 2)))
        place = folder / "LIDC-IDRI" / patient / study / series
        place.mkdir(parents=True)
        nodules = _nodules(rng, frames)
        slices = _lung(rng, nodules, frames + 2 * _MARGIN)
        for index, pixels in enumerate(slices):  # the first file is the uppermost slice, as scanners write it
            _write_slice(place / f"{len(slices) - index:06d}.dcm", pixels, patient, study, series, index)
        (place / f"{number:03d}.xml").write_text(_markup(rng, nodules, study, series, len(slices)), encoding="utf-8")
        cases += [PhantomCase(f"{patient}_{_MARGIN + index + 1:03d}", patient, split) for index in range(frames)]
    return cases


def _nodules(rng: np.random.Generator, frames: int) -> list[_Nodule]:
    """Nodules of 3 to 10 pixels, one above the other, so that every slice between the margins shows one."""
    nodules, first = [], _MARGIN
    while first < _MARGIN + frames:
        radius = float(rng.uniform(1.5, 5.0))
        count = min(_MARGIN + frames - first, max(1, round(2 * radius * _PIXEL / _STEP)))
        sees = rng.random(len(READERS)) < 0.75
        sees[rng.integers(len(READERS))] = True
        views = [(float(rng.uniform(0.75, 1.3)), *rng.uniform(-0.8, 0.8, 2).tolist()) for _ in READERS]
        middle = tuple(rng.uniform(0.25 * _SIDE, 0.7 * _SIDE, 2).tolist())
        readers = tuple(view if seen else None for view, seen in zip(views, sees, strict=True))
        density, hole = float(rng.uniform(-120, 80)), bool(radius > 3.6 and rng.random() < 0.4)
        nodules.append(_Nodule(first, count, (middle[0], middle[1]), radius, density, readers, hole))
        first += count
    return nodules


def _lung(rng: np.random.Generator, nodules: Sequence[_Nodule], count: int) -> list[npt.NDArray[np.int16]]:
    """Slices in HU from the feet up: air, vessels as dense as nodules, the chest wall with ribs."""
    shape = (_SIDE, _SIDE)
    air = -850 + 35 * smooth_noise(rng, shape, 4)
    vessels = np.maximum(winding_lines(rng, shape, 6, (0.012, 0.025)), winding_lines(rng, shape, 10, (0.006, 0.012)))
    edge = _SIDE * (0.84 + 0.05 * smooth_noise(rng, shape, 2))
    x = np.mgrid[:_SIDE, :_SIDE][1]
    slices = []
    for number in range(count):
        drift = np.roll(vessels, (number % 3, number // 2), axis=(0, 1))
        pixels = air + (rng.uniform(760, 860) * drift).astype(np.float32)
        for nodule in nodules:
            if number in nodule.slices:
                share = step(nodule.inside(number) + 0.5 * fine_noise(rng, shape, 1.5), 0.4)
                pixels = pixels * (1 - share) + nodule.density * share
        pixels = np.where(x > edge, 45 + 12 * fine_noise(rng, shape, 2.0), pixels)
        rib = (x > edge + 4) & (np.cos(np.mgrid[:_SIDE, :_SIDE][0] / 7 + number / 4) > 0.6)
        pixels = np.where(rib, 330.0, pixels)
        pixels = blur(pixels.astype(np.float32), 0.6) + 25 * rng.standard_normal(shape).astype(np.float32)
        slices.append(np.rint(np.clip(pixels, -1024, 3071)).astype(np.int16))
    return slices


def _write_slice(path: Path, pixels: npt.NDArray[np.int16], patient: str, study: str, series: str, index: int) -> None:
    """One CT slice, explicit little endian, stored from 0 on as scanners do."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(_slice_uid(series, index))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = Dataset()
    image.file_meta = meta
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, UID(_slice_uid(series, index))
    image.Modality, image.PatientID, image.PatientName = "CT", patient, ""
    image.StudyInstanceUID, image.SeriesInstanceUID, image.InstanceNumber = study, series, index + 1
    image.ImagePositionPatient = [0.0, 0.0, _z(index)]
    image.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    image.PixelSpacing, image.SliceThickness = [_PIXEL, _PIXEL], _STEP
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    image.RescaleIntercept, image.RescaleSlope = -1024, 1
    image.PixelData = (pixels + 1024).astype("<u2").tobytes()
    image.save_as(path, enforce_file_format=True)


def _markup(rng: np.random.Generator, nodules: Sequence[_Nodule], study: str, series: str, count: int) -> str:
    """The XML of four readers; beside nodules each marks a point of a tiny one, and of something that is none."""
    sessions = []
    for reader in range(len(READERS)):
        marks = []
        for number, nodule in enumerate(nodules, start=1):
            view = nodule.readers[reader]
            if view is None:
                continue
            rois = []
            for index in nodule.slices:
                mask = nodule.inside(index, view[0], (view[1], view[2])) > 0
                rois.append(_roi(series, index, _outer_border(mask), inclusion=True))
                core = nodule.inside(index, view[0], (view[1], view[2])) > 2.6
                if nodule.hole and core.any() and reader == next(r for r, v in enumerate(nodule.readers) if v):
                    rois.append(_roi(series, index, _outer_border(core), inclusion=False))
            marks.append(_nodule(f"Nodule {number:03d}", _TEXTURE, rois))
        column, row = (int(value) for value in rng.integers(10, 60, 2))
        marks.append(_nodule("tiny", "", [_roi(series, int(rng.integers(count)), [(column, row)], inclusion=True)]))
        marks.append(
            f"<nonNodule><nonNoduleID>{reader}</nonNoduleID><imageZposition>{_z(0)}</imageZposition>"
            f"<imageSOP_UID>{_slice_uid(series, 0)}</imageSOP_UID><locus><xCoord>5</xCoord><yCoord>5</yCoord></locus>"
            "</nonNodule>"
        )
        joined = "\n".join(marks)
        sessions.append(f"<readingSession><annotationVersion>3.12</annotationVersion>\n{joined}\n</readingSession>")
    header = f"<SeriesInstanceUid>{series}</SeriesInstanceUid><StudyInstanceUID>{study}</StudyInstanceUID>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<LidcReadMessage xmlns="http://www.nih.gov">\n'
        f"<ResponseHeader>{header}</ResponseHeader>\n" + "\n".join(sessions) + "\n</LidcReadMessage>\n"
    )


def _nodule(name: str, characteristics: str, rois: Sequence[str]) -> str:
    outlines = "\n".join(rois)
    return f"<unblindedReadNodule><noduleID>{name}</noduleID>{characteristics}\n{outlines}\n</unblindedReadNodule>"


def _roi(series: str, index: int, points: Sequence[tuple[int, int]], *, inclusion: bool) -> str:
    edges = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points)
    return (
        f"<roi><imageZposition>{_z(index):.6f}</imageZposition><imageSOP_UID>{_slice_uid(series, index)}</imageSOP_UID>"
        f"<inclusion>{str(inclusion).upper()}</inclusion>{edges}</roi>"
    )


def _outer_border(mask: Mask) -> list[tuple[int, int]]:
    """The chain of pixels (column, row) just outside of a mask, closed: its first pixel comes last again."""
    grown = cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    contours, _ = cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    chain = [(int(x), int(y)) for x, y in max(contours, key=len)[:, 0]]
    return [*chain, chain[0]]


def _slice_uid(series: str, index: int) -> str:
    return f"{series}.{index + 1}"


def _z(index: int) -> float:
    return -100.0 + _STEP * index
