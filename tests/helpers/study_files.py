"""Writes what the studies of a model leave beside its scores, and volumes to scroll: small and well-formed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sdseg.artifacts.results.studies import STUDIES, Volume
from sdseg.core.files import write_json
from sdseg.io.pictures import outline_paths, pack_slices

__all__ = ["calibration", "scored", "write_studies", "write_volume"]

KINDS = (("noise", "grey levels"), ("blur", "pixels"), ("jpeg", "quality"), ("contrast", ""), ("resolution", "×"))


def scored(mean: float | None, n: int, *, sd: float = 0.03, undefined: dict[str, int] | None = None) -> dict[str, Any]:
    """A score of summary.json."""
    if mean is None:
        nothing = dict.fromkeys(("mean", "sd", "minimum", "median", "maximum", "ci95"))
        return {**nothing, "n": 0, "undefined": undefined or {"undefined": n}}
    low, high = mean - sd, min(1.0, mean + sd) if mean <= 1 else mean + sd
    spread = {"mean": mean, "sd": sd, "minimum": low, "median": mean, "maximum": high}
    return {**spread, "ci95": [mean - sd / 2, mean + (high - mean) / 2], "n": n, "undefined": undefined or {}}


def calibration() -> dict[str, Any]:
    bins = []
    for index in range(15):
        low, high = index / 15, (index + 1) / 15
        middle, empty = (low + high) / 2, index == 7
        bins.append(
            {
                "low": low,
                "high": high,
                "pixels": 0 if empty else 40_000 if index in (0, 14) else 300,
                "probability": None if empty else middle,
                "positives": None if empty else min(1.0, middle**1.3),
            }
        )
    return {"size": "working size", "ece": 0.0123, "pixels": 83_600, "bins": bins}


def write_studies(folder: Path, summary: dict[str, Any]) -> None:
    """`evaluation/{sweep,stability,robustness,efficiency,latents}.json` and latents/masks.png."""
    keys = ("dataset", "origin", "protocol", "recipe", "backend", "split", "size", "data_checksum", "model_checksum")
    head = {key: summary[key] for key in keys} | {"format": 1, "n_cases": 3, "n_slices": 3, "provenance": {}}
    dice = summary["dice"]["mean"]
    rows: list[dict[str, Any]] = [
        {
            "steps": steps,
            "samples": samples,
            "dice": dice - 0.002 * place,
            "iou": 0.8,
            "seconds_per_image": 0.01 * steps,
        }
        for samples in (1, 5)
        for place, steps in enumerate((1, 2, 5, 10))
    ]
    reason = "20 steps need a recipe that was trained for them"
    rows.append({"steps": 20, "samples": 1, "dice": None, "iou": None, "seconds_per_image": None, "reason": reason})
    _write_study(folder, "sweep", head, rows=rows)
    none = {"value": None, "reason": "no AlexNet weights were named"}
    small = {"value": None, "reason": "images of at least 176 pixels are needed"}
    masks = {"psnr": {"value": "inf", "reason": None}, "ssim": {"value": 1.0, "reason": None}, "ms_ssim": small}
    level = {"psnr": {"value": 31.25, "reason": None}, "ssim": {"value": 0.9812, "reason": None}, "ms_ssim": small}
    _write_study(
        folder,
        "stability",
        head,
        runs=3,
        pictures=3,
        pairs=6,
        identical=False,
        dice=[dice] * 3,
        instance_level={"masks": masks, "probabilities": level},
        dataset_level={"masks": {"lpips": none}, "probabilities": {"lpips": none}},
    )
    curves = [
        {
            "kind": kind,
            "unit": unit,
            "levels": [
                {"level": place, "strength": 5.0 * place, "dice": dice - 0.02 * (1 + number) * place}
                for place in range(1, 5)
            ],
        }
        for number, (kind, unit) in enumerate(KINDS)
    ]
    _write_study(folder, "robustness", head, clean={"dice": dice}, curves=curves)
    _write_study(folder, "efficiency", head, **_efficiency())
    drawn = {"file": "latents/masks.png", "reason": None, "cases": []}
    missing = {"file": None, "reason": "no codec was named (--codec): training begins from it", "cases": []}
    _write_study(folder, "latents", head, masks=drawn, conditions=missing)
    (folder / "latents").mkdir(exist_ok=True)
    picture = np.full((90, 240, 3), 255, dtype=np.uint8)
    cv2.circle(picture, (45, 45), 30, (20, 80, 160), -1)
    (folder / "latents" / "masks.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def _write_study(folder: Path, name: str, head: dict[str, Any], **values: Any) -> None:
    record = STUDIES[name].record.checked(**head, study=name, **values)
    write_json(folder / f"{name}.json", record.content())


def _efficiency() -> dict[str, Any]:
    parts = [{"part": "denoiser", "parameters": 1_204_516, "flops": 310_000_000}]
    latency = [
        {"batch": batch, "seconds_median": 0.01 * batch, "seconds_p90": 0.012 * batch, "images_per_second": 100.0}
        for batch in (1, 4, 16)
    ]
    return {
        "parts": parts,
        "parameters": 1_204_516,
        "flops": 310_000_000,
        "latency": latency,
        "reason": None,
        "inference": {"steps": 1, "samples": 1},
        "training": {"steps": 1000, "seconds": 84.2},
        "memory": {"bytes": 512_000_000, "of": "memory of the whole process"},
        "device": "cpu",
        "threads": 1,
    }


def write_volume(folder: Path, case: str, *, rank: str = "median", slices: int = 7, size: int = 48) -> None:
    """`evaluation/volumes/<rank>.webp` and .json: a ball that is brightest in the middle slice."""
    z, y, x = np.mgrid[:slices, :size, :size]
    middle = (slices - 1) / 2
    radius = np.sqrt(np.clip(1 - ((z - middle) / (middle + 1)) ** 2, 0, 1)) * size / 3
    label = np.hypot(y - size / 2, x - size / 2) < radius
    prediction = np.hypot(y - size / 2 - 2, x - size / 2) < radius
    images = np.repeat((60 + 25 * z + 40 * label)[..., None], 3, axis=-1).astype(np.uint8)
    sprite = pack_slices(images)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{rank}.webp").write_bytes(sprite.webp)
    record = {"case": case, "rank": rank, "dice": 0.9, "size": size, "slices": slices, "first": slices // 2}
    paths = {
        name: [outline_paths(one[None]) for one in masks]
        for name, masks in (("label", label), ("prediction", prediction))
    }
    volume = Volume.checked(**record, columns=sprite.columns, tile=sprite.tile, **paths)
    write_json(folder / f"{rank}.json", volume.content())
