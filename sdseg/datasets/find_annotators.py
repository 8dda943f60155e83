"""Masks that several people drew of the same images, told from how files lie: a folder each, an end of the name each.

Masks of several structures lie in the same ways, so nobody is taken for an annotator unless the user says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from sdseg.config.channels import ID
from sdseg.core.settings import NAME

__all__ = ["annotated_columns", "annotated_folders", "annotated_names"]

COLUMN = re.compile(r"mask[_ -](.+)")
LEAST = 0.5  # of the images have masks of two annotators or more


def annotated_folders(pairs: Sequence[tuple[str, str]]) -> tuple[str, dict[str, str]] | None:
    """The folder of images and those of masks by annotator, of pairs of both; None where images lie in several."""
    images = {one for one, _ in pairs}
    named = _named({PurePosixPath(other).name: other for _, other in pairs})
    if len(images) != 1 or len(named) < max(2, len({other for _, other in pairs})):
        return None
    return images.pop(), named


def annotated_names(images: Sequence[str], masks: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """The pattern `mask_name` and the annotators, where masks are called as images with something short behind.

    Names are without suffix. None where images have one mask each, or none.
    """
    for separator in "_-.":
        ends: dict[str, set[str]] = {}
        for name in masks:
            start, _, end = name.rpartition(separator)
            ends.setdefault(start, set()).add(end)
        drawn = [ends[name] for name in set(images) & set(ends)]
        everyone = sorted({end for each in drawn for end in each})
        several = sum(len(each) > 1 for each in drawn)
        if (
            several
            and several >= LEAST * len(set(images))
            and len(_named(dict.fromkeys(everyone, ""))) == len(everyone)
        ):
            return rf"(?P<id>.+){re.escape(separator)}(?P<annotator>[^{re.escape(separator)}]+)", tuple(everyone)
    return None


def annotated_columns(header: Sequence[str]) -> dict[str, str]:
    """Columns of a table with the masks of an annotator each, `mask_anna`, by annotator; empty for fewer than two."""
    named = _named({match[1]: column for column in header if (match := COLUMN.fullmatch(column))})
    return named if len(named) > 1 and "image" in header else {}


def _named(places: Mapping[str, str]) -> dict[str, str]:
    """By names that an annotator may have; without those that cannot be made one."""
    small = {re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_"): place for name, place in places.items()}
    return {name: place for name, place in small.items() if re.fullmatch(NAME, name) and ID not in place}
