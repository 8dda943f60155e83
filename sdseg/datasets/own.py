"""A dataset of the user's own: its record and its cases, from what the configuration says and what the folder holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sdseg.config.channels import without_number
from sdseg.config.dataset import Own
from sdseg.core.errors import ListedError, UserError
from sdseg.datasets.case_table import tabled_cases
from sdseg.datasets.layouts import ChannelFiles, FilePair, RawCase, annotators_of, check_folder, find_cases
from sdseg.datasets.nnunet import Description, nnunet_layout, read_description
from sdseg.datasets.source_lookup import declared_source, own_source
from sdseg.datasets.sources import Source
from sdseg.io.images import IMAGE_SUFFIXES
from sdseg.io.volumes import VOLUME_SUFFIXES

__all__ = ["own_dataset"]


def own_dataset(own: Own, raw: Path) -> tuple[Source, tuple[RawCase, ...]]:
    """Record and cases of the dataset under `raw`, in natural order of their ids, with their groups where known.

    Raises UserError or ListedError with every problem: folders or files missing, images without mask, ids found
    twice, a table or dataset.json that is not as expected, an id that `group_pattern` does not fit.
    """
    source = declared_source(own)
    if source is None:
        description = _description(own, raw)
        arrangement, channels = nnunet_layout(description, raw)
        source = own_source(own, description.structures, description.labels, channels)
        source = replace(source, exclusive=description.exclusive)
        cases = find_cases(source, raw, (arrangement,))
    elif own.table is not None:
        check_folder(source, raw)
        cases = tabled_cases(own, own.table, raw)
    else:
        pair = _folders(own)
        _check_kind(own, pair, raw)
        _check_one_folder(own, pair, raw)
        cases = find_cases(source, raw, ((pair,),))
    _check_everyone_drew(own, cases, raw)
    return source, _grouped(own, cases, raw)


def _description(own: Own, raw: Path) -> Description:
    description = read_description(raw / "dataset.json")
    if (description.ending in IMAGE_SUFFIXES) != (own.modality == "rgb"):
        raise _contradicting(own, description.ending, raw / "dataset.json")
    are_ct = [without_number(name).upper() == "CT" for name in description.channels]
    if own.modality in ("mr", "pet", "ultrasound") and any(are_ct):
        remedy = "set 'modality: ct' with 'windows', or correct 'channel_names'"
        if not all(are_ct):
            remedy = "set 'modality: other', with a 'normalisation' for each channel, or correct 'channel_names'"
        raise UserError(
            f"its channel is 'CT', and the configuration says 'modality: {own.modality}'",
            where=raw / "dataset.json",
            remedy=remedy,
        )
    return description


def _folders(own: Own) -> FilePair:
    volumes = own.modality != "rgb"
    suffixes = (".nii.gz", ".nii") if volumes else IMAGE_SUFFIXES
    anything = r"(?P<id>.+)"
    return FilePair(
        str(own.images),
        tuple(own.annotators.values()) or (str(own.masks),),
        suffixes,
        suffixes,
        own.image_name or anything,
        own.mask_name or anything,
        series=volumes,
        annotators=tuple(own.annotators),
        channels=tuple(ChannelFiles(name, place, own.image_name or anything) for name, place in own.channels.items()),
    )


def _check_kind(own: Own, pair: FilePair, raw: Path) -> None:
    """Refuse a folder of images that holds files of the other kind alone."""
    folder = raw / str(own.images)
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    names = [path.name.lower() for path in entries]
    if any(name.endswith(pair.image_suffixes) for name in names) or (pair.series and any(map(Path.is_dir, entries))):
        return
    others = IMAGE_SUFFIXES if pair.series else VOLUME_SUFFIXES
    ending = next((suffix for name in names for suffix in others[::-1] if name.endswith(suffix)), None)
    if ending is not None:
        raise _contradicting(own, ending, folder)


def _contradicting(own: Own, ending: str, where: Path) -> UserError:
    images = ending in IMAGE_SUFFIXES
    return UserError(
        f"files end in '{ending}', and 'modality: {own.modality}' is for "
        f"{'images' if own.modality == 'rgb' else 'volumes'}",
        where=where,
        remedy=f"set 'modality: {'rgb' if images else 'ct'}'{'' if images else ', or mr, pet, ultrasound, other'}",
    )


def _check_one_folder(own: Own, pair: FilePair, raw: Path) -> None:
    """Refuse masks that lie in folders below the one that is named for them, as those of several annotators do."""
    folder = raw / str(own.masks)
    if own.annotators or not folder.is_dir():
        return
    ending = pair.label_suffixes
    deeper = sorted(
        each.name
        for each in folder.iterdir()
        if each.is_dir() and any(path.name.lower().endswith(ending) for path in each.iterdir())
    )
    if deeper and not any(path.name.lower().endswith(ending) for path in folder.iterdir()):
        named = ", ".join(f"{name}: {own.masks}/{name}" for name in deeper)
        raise UserError(
            f"'{own.masks}' holds no mask, and its folders do ({', '.join(deeper)}): one mask of each case is expected",
            where=folder,
            remedy=f"are they of several annotators? then write own.annotators: {{{named}}} in place of 'masks' "
            "(docs/annotators.md); else name one of the folders",
        )


def _check_everyone_drew(own: Own, cases: Sequence[RawCase], raw: Path) -> None:
    """Refuse an annotator of whom there is no mask at all: a folder or a column is misnamed."""
    absent = [name for name in own.annotators if name not in annotators_of(cases)]
    if absent:
        places = ", ".join(f"{name} ({own.annotators[name]})" for name in absent)
        raise UserError(
            f"no case has a mask of the annotator {places}",
            where=raw,
            remedy="correct the folder or column in own.annotators, or leave the annotator out",
        )


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
