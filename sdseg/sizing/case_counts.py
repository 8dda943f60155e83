"""How many cases and slices a dataset has, before or after its files are there."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from sdseg.config.dataset import Dataset
from sdseg.config.run import Config
from sdseg.core.files import json_or_empty
from sdseg.datasets.source_lookup import known_source, makes_split
from sdseg.datasets.sources import PhantomSize, Source
from sdseg.datasets.split_files import SPLITS

__all__ = ["Count", "count"]


@dataclass(frozen=True)
class Count:
    """Numbers per split; None where nothing tells. `by` says what told them."""

    cases: dict[str, int] | None
    slices: dict[str, int] | None
    by: str
    tiles_unknown: bool = False  # slices are tiles of images, whose sizes nothing tells yet

    @property
    def n_cases(self) -> int | None:
        return sum(self.cases.values()) if self.cases else None

    @property
    def n_slices(self) -> int | None:
        return sum(self.slices.values()) if self.slices else None


def count(config: Config, name: str) -> Count:
    """From the prepared data, else the split, else what is known of the source. Opens small text files alone."""
    settings, results = config.datasets[name], Path(config.results) / name
    prepared = json_or_empty(results / "prepared" / "manifest.json")
    if isinstance(prepared.get("n_slices"), dict) and isinstance(prepared.get("n_cases"), dict):
        return Count(prepared["n_cases"], prepared["n_slices"], "prepared data")
    known = _before(config, name)
    return known if settings.tiles is None else replace(known, slices=None, tiles_unknown=True)


def _before(config: Config, name: str) -> Count:
    """What is known before the data are prepared, with one slice of each image."""
    settings, source = config.datasets[name], known_source(config.datasets[name])
    if source is not None and settings.origin == "phantom" and settings.split_file is None:
        scale = config.phantoms.scale if config.phantoms else 1.0
        cases, slices = _phantoms(source.phantom, scale)
        return Count(cases, slices, "phantoms")
    split = Path(config.results) / name / "split.csv" if makes_split(settings) else config.split_path(name)
    ids = _listed(split)
    if ids:
        cases = {part: len(ids[part]) for part in SPLITS}
        return Count(cases, _slices(source, ids, cases), "split file")
    if source is not None and source.parts:
        cases = dict(zip(SPLITS, source.parts, strict=True))
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


def _slices(source: Source | None, ids: dict[str, list[str]], cases: dict[str, int]) -> dict[str, int] | None:
    """One of an image; of volumes the mean of those that were published."""
    if source is not None and source.modality == "rgb":
        return cases
    if source is None or not source.published:
        return None
    mean = {name: part.slices / len(part.ids) for part in source.published for name in part.ids}
    usual = sum(part.slices for part in source.published) / len(mean)
    return {part: round(sum(mean.get(name, usual) for name in names)) for part, names in ids.items()}


def _phantoms(
    size: PhantomSize | tuple[int, int, int] | None, scale: float
) -> tuple[dict[str, int] | None, dict[str, int] | None]:
    """Cases and slices per split."""
    if size is None:
        return None, None
    if isinstance(size, tuple):
        images = {part: max(3, round(usual * scale)) for part, usual in zip(SPLITS, size, strict=True)}
        return images, images
    total = min(size.most, max(size.fewest, round(size.groups * scale)))
    val, test = (max(2, round(share * total)) for share in (size.val, size.test))
    frames = max(2, round(size.frames * min(scale, 1))) if size.frames else 1
    cases = {"train": (total - val - test) * frames, "val": val * frames, "test": test * frames}
    return cases, {part: number * size.slices for part, number in cases.items()}
