"""`prepared/check.json`: what was seen of a dataset before its use, as typed records."""

from __future__ import annotations

from typing import Any

from pydantic import FiniteFloat

from sdseg.artifacts.results.record import FORMAT, Record, Score

__all__ = ["AreaRange", "DatasetCheck", "Duplicate", "Extent", "LabelCount", "PublishedSlices"]


class Extent(Record):
    """Smallest and largest along each axis."""

    smallest: tuple[int | FiniteFloat, ...]
    largest: tuple[int | FiniteFloat, ...]


class LabelCount(Record):
    """A label that the dataset declares, and in how many cases it occurs."""

    name: str
    cases: int


class AreaRange(Record):
    """Shares of an image that a structure takes, of the cases where it is."""

    cases: int
    smallest: Score
    median: Score
    largest: Score


class Duplicate(Record):
    """Two cases that are the same picture, but for some of 256 bits."""

    cases: tuple[str, str]
    splits: tuple[str, str]
    bits: int | FiniteFloat


class PublishedSlices(Record):
    """A number of slices that the paper counts, and what is here; None where not all of its cases are."""

    what: str
    expected: int
    found: int | None


class DatasetCheck(Record):
    """`prepared/check.json`, and what `prepare --check` writes."""

    format: int = FORMAT
    dataset: str
    source: str
    origin: str
    protocol: str
    passed: bool
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    cases: dict[str, int]  # per split
    slices: dict[str, int]
    sizes: Extent | None  # rows, columns, and slices of volumes
    spacing: Extent | None  # mm: left-right, back-front, foot-head
    orientations: dict[str, int]  # axes -> cases; empty for pictures
    intensities: tuple[int | float, int | float] | None  # lowest and highest raw value
    labels: dict[str, LabelCount]
    areas: dict[str, AreaRange]  # structure -> its shares
    empty_masks: tuple[str, ...]  # cases
    duplicates: tuple[Duplicate, ...]
    published_slices: tuple[PublishedSlices, ...]
    provenance: dict[str, Any]
