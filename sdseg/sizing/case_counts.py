"""How many cases and slices a dataset has, before or after its files are there."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdseg.config.dataset import Dataset
from sdseg.config.run import Config
from sdseg.datasets.source_lookup import known_source, makes_split
from sdseg.datasets.sources import Source

__all__ = ["Count", "count"]

SPLITS = ("train", "val", "test")
# Phantoms at scale 1: how many groups, images or slices of one, and the shares of validation and test
# (sdseg/datasets/phantoms; a test compares them with what is written).
PHANTOMS = {
    "cvc": (29, 8, 0.1, 0.17),
    "kseg": (300, 1, 0.1, 0.12),
    "btcv": (16, 24, 0.15, 0.25),
    "sts": (12, 28, 0.15, 0.25),
}
FEWEST_PHANTOMS = {"cvc": 6, "kseg": 10, "btcv": 6, "sts": 6}
REFUGE2_PHANTOMS = {"train": 200, "val": 30, "test": 40}
OFFICIAL = {"isic2018": (2594, 100, 1000)}  # the owner's folders (resources/splits/README.md)


@dataclass(frozen=True)
class Count:
    """Numbers per split; None where nothing tells. `by` says what told them."""

    cases: dict[str, int] | None
    slices: dict[str, int] | None
    by: str

    @property
    def n_cases(self) -> int | None:
        return sum(self.cases.values()) if self.cases else None

    @property
    def n_slices(self) -> int | None:
        return sum(self.slices.values()) if self.slices else None


def count(config: Config, name: str) -> Count:
    """From the prepared data, else the split, else what is known of the source. Opens small text files alone."""
    settings, results = config.datasets[name], Path(config.results) / name
    prepared = _read_json(results / "prepared" / "manifest.json")
    if isinstance(prepared.get("n_slices"), dict) and isinstance(prepared.get("n_cases"), dict):
        return Count(prepared["n_cases"], prepared["n_slices"], "prepared data")
    source = known_source(settings)
    if settings.origin == "phantom" and settings.split_file is None:
        scale = config.phantoms.scale if config.phantoms else 1.0
        cases, slices = _phantoms(settings.source, scale)
        return Count(cases, slices, "phantoms")
    split = results / "split.csv" if makes_split(settings) else config.split_path(name)
    listed = _listed(split)
    if listed:
        cases = {part: len(listed[part]) for part in SPLITS}
        return Count(cases, _slices(source, listed, cases), "split file")
    if settings.source in OFFICIAL:
        cases = dict(zip(SPLITS, OFFICIAL[settings.source], strict=True))
        return Count(cases, cases, "the owner's folders")
    return Count(None, None, _unknown(settings))


def _unknown(settings: Dataset) -> str:
    return "not known before its files are read" if settings.own or makes_split(settings) else "no split file"


def _listed(path: Path) -> dict[str, list[str]]:
    """Ids per split; empty where the file is missing or no split file (training says what is wrong with it)."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = [(row["split"], row["id"]) for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, KeyError, csv.Error):
        return {}
    return {part: [name for split, name in rows if split == part] for part in SPLITS} if rows else {}


def _slices(source: Source | None, listed: dict[str, list[str]], cases: dict[str, int]) -> dict[str, int] | None:
    """One of an image; of volumes the mean of those that were published."""
    if source is not None and source.modality == "rgb":
        return cases
    if source is None or not source.published:
        return None
    mean = {name: part.slices / len(part.ids) for part in source.published for name in part.ids}
    usual = sum(part.slices for part in source.published) / len(mean)
    return {part: round(sum(mean.get(name, usual) for name in names)) for part, names in listed.items()}


def _phantoms(source: str, scale: float) -> tuple[dict[str, int] | None, dict[str, int] | None]:
    if source == "refuge2":
        photographs = {part: max(3, round(usual * scale)) for part, usual in REFUGE2_PHANTOMS.items()}
        return photographs, photographs
    if source not in PHANTOMS:
        return None, None
    groups, each, val, test = PHANTOMS[source]
    total = max(FEWEST_PHANTOMS[source], round(groups * scale))
    total = min(total, 30) if source == "btcv" else total
    least = 2 if total >= 6 else 1
    shared = Counter(val=max(least, round(val * total)), test=max(least, round(test * total)))
    shared["train"] = total - shared["val"] - shared["test"]
    if source == "cvc":  # a group is a sequence of frames, each of which is a case
        each = max(2, round(each * min(scale, 1)))
        frames = {part: shared[part] * each for part in SPLITS}
        return frames, frames
    cases = {part: shared[part] for part in SPLITS}
    return cases, {part: cases[part] * each for part in SPLITS}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
