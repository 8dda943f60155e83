"""From the settings of a dataset to its record and its cases, be it a known one or the user's own."""

from __future__ import annotations

from pathlib import Path

from sdseg.config.dataset import Dataset
from sdseg.datasets import own
from sdseg.datasets.layouts import RawCase, find_cases
from sdseg.datasets.sources import Source, source_named

__all__ = ["open_raw"]


def open_raw(settings: Dataset, raw: Path) -> tuple[Source, tuple[RawCase, ...]]:
    """Record and cases of the dataset under `raw`.

    Raises UserError or ListedError where files are missing, unpaired or arranged otherwise.
    """
    if settings.own is not None:
        return own.own_dataset(settings.own, raw)
    source = source_named(settings.source)
    return source, find_cases(source, raw)
