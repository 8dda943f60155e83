"""Dice of a model when images get worse: noise, blur, JPEG, contrast and resolution, in rising strength."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from sdseg.artifacts.image_contract import ImageContract
from sdseg.artifacts.results.studies import HarmLevel, Robustness, RobustnessCurve
from sdseg.core.array_types import FloatArray, RawImages
from sdseg.data.store import Case
from sdseg.evaluation.studies.studied_model import Subject, bar, mean_scores

__all__ = ["KINDS", "CorruptedImages", "Kind", "corrupt", "robustness"]


def robustness(subject: Subject) -> Robustness:
    """The content of `robustness.json`: the scores of clean images, and `curves`, one per kind of harm.

    A curve's `levels` go from mild to severe; the clean score is their level 0. Scores are at the working size.
    """
    images, image = subject.store.slices, subject.store.manifest.image
    runs = 1 + sum(len(kind.strengths) for kind in KINDS)
    curves = []
    with bar(subject.slices * runs, "robustness") as progress:
        backend = subject.served.backend
        clean = mean_scores(subject, backend, progress, timed=False)
        for kind in KINDS:
            levels = []
            for level, strength in enumerate(kind.strengths, start=1):
                harmed = cast("RawImages", CorruptedImages(images, subject.cases, kind, strength, image))
                means = mean_scores(subject.on(harmed), backend, progress, timed=False)
                levels.append(HarmLevel.checked(level=level, strength=strength, **means.content()))
            curves.append(RobustnessCurve(kind=kind.name, unit=kind.unit, levels=tuple(levels)))
    return Robustness.checked(**subject.header("robustness"), clean=clean, curves=curves)


Harm = Callable[[FloatArray, float, np.random.Generator], FloatArray]


@dataclass(frozen=True)
class Kind:
    """One kind of harm: what its strengths mean, the five of them from mild to severe, and how it is done.

    `harm` takes an image [H,W,C] in [0,1], a strength and a generator, and may leave [0,1].
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    harm: Harm


def corrupt(image: RawImages, kind: Kind, strength: float, contract: ImageContract, seed: int) -> RawImages:
    """One raw image [H,W,C] harmed; same shape, type and range of values. The same seed gives the same image."""
    low, high = contract.window
    unit = np.clip((image.astype(np.float32) - low) / (high - low), 0.0, 1.0)
    generator = np.random.default_rng(seed)
    parts = np.split(unit, unit.shape[-1], axis=-1) if contract.channel_names else [unit]  # no colours of one picture
    one_by_one = [kind.harm(part, strength, generator).reshape(part.shape) for part in parts]
    harmed = np.concatenate(one_by_one, axis=-1)
    raw = np.clip(harmed, 0.0, 1.0) * (high - low) + low
    return np.asarray(np.rint(raw) if image.dtype.kind in "iu" else raw, dtype=image.dtype)


class CorruptedImages:
    """Stands in for a store's `images`: rows are harmed when they are asked for, each by a seed of its own.

    The seed comes from the name of the case and the number of the slice, so a picture is the same in any batch, in
    any order, and at every strength (noise grows, it does not change).
    """

    def __init__(
        self, images: RawImages, cases: Sequence[Case], kind: Kind, strength: float, contract: ImageContract
    ) -> None:
        self._images, self._kind, self._strength, self._contract = images, kind, strength, contract
        self._seeds = {
            row: zlib.crc32(f"{case.case}/{row - case.start}".encode())
            for case in cases
            for row in range(case.start, case.start + case.slices)
        }

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> RawImages:
        """Raw images [n,H,W,C] of these rows of the store, which must belong to the cases."""
        return np.stack(
            [
                corrupt(self._images[int(row)], self._kind, self._strength, self._contract, self._seeds[int(row)])
                for row in rows
            ]
        )


def _noise(image: FloatArray, deviation: float, generator: np.random.Generator) -> FloatArray:
    return image + np.float32(deviation) * generator.standard_normal(image.shape, dtype=np.float32)


def _blur(image: FloatArray, percent: float, generator: np.random.Generator) -> FloatArray:
    sigma = percent / 100.0 * image.shape[0]
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101), dtype=np.float32)


def _jpeg(image: FloatArray, quality: float, generator: np.random.Generator) -> FloatArray:
    pixels = np.rint(image * 255.0).astype(np.uint8)
    coloured = pixels.shape[2] == 3
    if coloured:  # OpenCV means BGR, and JPEG treats the colours differently
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    _, stream = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    decoded = np.asarray(cv2.imdecode(stream, cv2.IMREAD_COLOR if coloured else cv2.IMREAD_GRAYSCALE))
    return np.asarray(decoded[..., ::-1] if coloured else decoded, dtype=np.float32) / np.float32(255.0)


def _contrast(image: FloatArray, factor: float, generator: np.random.Generator) -> FloatArray:
    mean: FloatArray = image.mean(axis=(0, 1), keepdims=True, dtype=np.float32)
    return np.asarray(mean + np.float32(factor) * (image - mean), dtype=np.float32)


def _resolution(image: FloatArray, factor: float, generator: np.random.Generator) -> FloatArray:
    height, width = image.shape[:2]
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


KINDS = (
    Kind("noise", "standard deviation, share of the window", (0.02, 0.05, 0.1, 0.2, 0.4), _noise),
    Kind("blur", "Gaussian σ, % of the image side", (0.5, 1.0, 2.0, 3.0, 5.0), _blur),
    Kind("jpeg", "JPEG quality", (80, 50, 25, 10, 5), _jpeg),
    Kind("contrast", "contrast left, factor", (0.8, 0.6, 0.4, 0.2, 0.1), _contrast),
    Kind("resolution", "reduced by this factor, and enlarged again", (1.5, 2, 3, 4, 8), _resolution),
)
