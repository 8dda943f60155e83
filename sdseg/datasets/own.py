"""A dataset of the user's own: its record and its cases, from what the configuration says and what the folder holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sdseg.config.dataset import Own
from sdseg.core.errors import ListedError, UserError
from sdseg.datasets.case_table import tabled_cases
from sdseg.datasets.layouts import Arrangement, FilePair, RawCase, check_folder, find_cases
from sdseg.datasets.nnunet import Description, nnunet_layout, read_description
from sdseg.datasets.source_lookup import declared_source, own_source
from sdseg.datasets.sources import Source
from sdseg.io.images import IMAGE_SUFFIXES

__all__ = ["own_dataset"]


def own_dataset(own: Own, raw: Path) -> tuple[Source, tuple[RawCase, ...]]:
    """Record and cases of the dataset under `raw`, in natural order of their ids, with their groups where known.

    Raises UserError or ListedError with every problem: folders or files missing, images without mask, ids found
    twice, a table or dataset.json that is not as expected, an id that `group_pattern` does not fit.
    """
    source = declared_source(own)
    if source is None:
        description = _description(own, raw)
        source = replace(own_source(own, description.structures, description.labels), exclusive=description.exclusive)
        cases = find_cases(source, raw, (nnunet_layout(description, raw),))
    elif own.table is not None:
        check_folder(source, raw)
        cases = tabled_cases(own, own.table, raw)
    else:
        cases = find_cases(source, raw, (_folders(own),))
    return source, _grouped(own, cases, raw)


def _description(own: Own, raw: Path) -> Description:
    description = read_description(raw / "dataset.json")
    images = description.ending in IMAGE_SUFFIXES
    if images != (own.modality == "rgb"):
        raise UserError(
            f"files end in '{description.ending}', and 'modality: {own.modality}' is for "
            f"{'images' if own.modality == 'rgb' else 'volumes'}",
            where=raw / "dataset.json",
            remedy=f"set 'modality: {'rgb' if images else 'ct'}'",
        )
    return description


def _folders(own: Own) -> Arrangement:
    volumes = own.modality == "ct"
    suffixes = (".nii.gz", ".nii") if volumes else IMAGE_SUFFIXES
    anything = r"(?P<id>.+)"
    pair = FilePair(
        str(own.images),
        tuple(own.annotators.values()) or (str(own.masks),),
        suffixes,
        suffixes,
        own.image_name or anything,
        own.mask_name or anything,
        series=volumes,
        annotators=tuple(own.annotators),
    )
    return (pair,)


def _grouped(own: Own, cases: Sequence[RawCase], raw: Path) -> tuple[RawCase, ...]:
    """The cases with the group that `group_pattern` finds in their ids."""
    if own.group_pattern is None:
        return tuple(cases)
    matches = {case.id: re.search(own.group_pattern, case.id) for case in cases}
    bare = [name for name, match in matches.items() if match is None or not (match[1] or "").strip()]
    if bare:
        raise ListedError(
            f"'group_pattern' {own.group_pattern} finds no group in {len(bare)} of {len(cases)} ids:",
            bare,
            where=raw,
            remedy="correct the pattern; every case needs the patient or sequence it comes from",
        )
    return tuple(replace(case, group=match[1].strip()) for case in cases if (match := matches[case.id]) is not None)
