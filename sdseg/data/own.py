"""A dataset of the user's own: its record and its cases, from what the configuration says and what the folder holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

from sdseg.artifacts import Structure
from sdseg.data.images import IMAGE_SUFFIXES
from sdseg.data.layouts import Layout, Pair, RawCase, check_folder, find_cases
from sdseg.data.masks import ExactValues, MaskCoding
from sdseg.data.nnunet import Description, nnunet_layout, read_description
from sdseg.data.sources import Source
from sdseg.data.tables import tabled_cases
from sdseg.errors import ListedError, UserError, nearest
from sdseg.own import Own

__all__ = ["declared_source", "own_dataset"]

WORDS = {
    "folders": "pairs of files in '{images}' and '{masks}'",
    "nnunet": "imagesTr/CASE_0000.…, labelsTr/CASE.… and dataset.json of nnU-Net",
    "table": "the table '{table}' and the files it names",
}


def declared_source(own: Own) -> Source | None:
    """The record of the dataset as far as the configuration tells; None where dataset.json must be read first."""
    return None if own.layout == "nnunet" else _source(own, {name: (value,) for value, name in own.labels.items()})


def own_dataset(own: Own, raw: Path) -> tuple[Source, tuple[RawCase, ...]]:
    """Record and cases of the dataset under `raw`, in natural order of their ids, with their groups where known.

    Raises UserError or ListedError with every problem: folders or files missing, images without mask, ids found
    twice, a table or dataset.json that is not as expected, an id that `group_pattern` does not fit.
    """
    source = declared_source(own)
    if source is None:
        description = _description(own, raw)
        source = _source(own, description.structures, description.labels)
        cases = find_cases(source, raw, nnunet_layout(description, raw))
    elif own.table is not None:
        check_folder(source, raw)
        cases = tabled_cases(own, own.table, raw)
    else:
        cases = find_cases(source, raw, _folders(own))
    return source, _grouped(own, cases, raw)


def _source(own: Own, names: Mapping[str, tuple[int, ...]], labels: Mapping[int, str] | None = None) -> Source:
    """The record; `names` gives the label ids of everything that a target may name."""
    targets = {
        target: tuple(
            Structure(name=name, values=_values(members, names, labels or own.labels, f"target '{target}'"))
            for name, members in structures.items()
        )
        for target, structures in own.targets.items()
    } or {"all": tuple(Structure(name=name, values=values) for name, values in names.items())}
    return Source(
        name="own",
        title=own.title,
        modality=own.modality,
        page="",
        licence="",
        layout=WORDS[own.layout].format(images=own.images, masks=own.masks, table=own.table),
        labels=MappingProxyType(dict(labels or own.labels)),
        targets=MappingProxyType(targets),
        windows=MappingProxyType(dict(own.windows) or {"corrected": (0.0, 255.0)}),
        coding=_coding(own, labels or own.labels),
        split_by="drawn",
    )


def _values(
    members: Sequence[int | str], names: Mapping[str, tuple[int, ...]], labels: Mapping[int, str], where: str
) -> tuple[int, ...]:
    values: set[int] = set()
    for member in members:
        known = names.get(member) if isinstance(member, str) else (member,) if member in labels else None
        if known is None:
            raise UserError(
                f"{where} names label '{member}', {nearest(str(member), [*names, *map(str, labels)])}",
                where="'targets' of the dataset's settings",
                remedy="choose among the labels of dataset.json",
            )
        values |= set(known)
    return tuple(sorted(values))


def _coding(own: Own, labels: Mapping[int, str]) -> MaskCoding | ExactValues | None:
    values = {0: 0, **own.mask_values} if own.mask_values else {0: 0, **{label: label for label in labels}}
    levels = sorted(values)
    if own.lossy_masks:
        limits = tuple((low + high) // 2 for low, high in pairwise(levels))
        return MaskCoding(tuple(levels), tuple(values[level] for level in levels), limits)
    if own.modality == "ct" and not own.mask_values:
        return None
    return ExactValues(tuple((level, values[level]) for level in levels))


def _description(own: Own, raw: Path) -> Description:
    described = read_description(raw / "dataset.json")
    images = described.ending in IMAGE_SUFFIXES
    if images != (own.modality == "rgb"):
        raise UserError(
            f"files end in '{described.ending}', and 'modality: {own.modality}' is for "
            f"{'images' if own.modality == 'rgb' else 'volumes'}",
            where=raw / "dataset.json",
            remedy=f"set 'modality: {'rgb' if images else 'ct'}'",
        )
    return described


def _folders(own: Own) -> Layout:
    volumes = own.modality == "ct"
    suffixes = (".nii.gz", ".nii") if volumes else IMAGE_SUFFIXES
    anything = r"(?P<id>.+)"
    pair = Pair(
        str(own.images),
        (str(own.masks),),
        suffixes,
        suffixes,
        own.image_name or anything,
        own.mask_name or anything,
        series=volumes,
    )
    return Layout(arrangements=((pair,),))


def _grouped(own: Own, cases: Sequence[RawCase], raw: Path) -> tuple[RawCase, ...]:
    """The cases with the group that `group_pattern` finds in their ids."""
    if own.group_pattern is None:
        return tuple(cases)
    found = {case.id: re.search(own.group_pattern, case.id) for case in cases}
    bare = [name for name, match in found.items() if match is None or not match[1]]
    if bare:
        raise ListedError(
            f"'group_pattern' {own.group_pattern} finds no group in {len(bare)} of {len(cases)} ids:",
            bare,
            where=raw,
            remedy="correct the pattern; every case needs the patient or sequence it comes from",
        )
    return tuple(replace(case, group=match[1]) for case in cases if (match := found[case.id]) is not None)
