"""From the settings of a dataset to its record and its cases, be it a known one or the user's own."""

from __future__ import annotations

from pathlib import Path

from sdseg.config import Dataset
from sdseg.data import own
from sdseg.data.layouts import RawCase, find_cases
from sdseg.data.sources import Source, source_named

__all__ = ["known_source", "makes_split", "open_raw"]


def open_raw(settings: Dataset, raw: Path) -> tuple[Source, tuple[RawCase, ...]]:
    """Record and cases of the dataset under `raw`.

    Raises UserError or ListedError where files are missing, unpaired or arranged otherwise.
    """
    if settings.own is not None:
        return own.own_dataset(settings.own, raw)
    source = source_named(settings.source)
    return source, find_cases(source, raw)


def known_source(settings: Dataset) -> Source | None:
    """The record as far as it is known without the raw files; None where only they tell (nnU-Net's dataset.json)."""
    return source_named(settings.source) if settings.own is None else own.declared_source(settings.own)


def makes_split(settings: Dataset) -> bool:
    """Whether the split of the dataset is made from its raw files, since there is no file of it to read."""
    if settings.split_file is not None:
        return False
    return settings.own is not None or source_named(settings.source).split_by != "file"
