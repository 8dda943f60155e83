"""nnU-Net's dataset.json and file names: labels, regions, and one file per case and channel."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sdseg.core.errors import ListedError, UserError
from sdseg.core.yaml_json import read_user_json
from sdseg.datasets.layouts import Arrangement, FilePair
from sdseg.io.images import IMAGE_SUFFIXES
from sdseg.io.volumes import VOLUME_SUFFIXES

__all__ = ["Description", "nnunet_layout", "read_description"]

IMAGES, LABELS = "imagesTr", "labelsTr"


@dataclass(frozen=True)
class Description:
    """What dataset.json says."""

    structures: Mapping[str, tuple[int, ...]]  # name of a label or region -> its ids; background left out
    labels: Mapping[int, str]  # every id with a name
    ending: str  # of every file, with its dot
    channel: str = ""  # name of the first one: CT for nnU-Net means values in Hounsfield units
    exclusive: bool | None = None  # a key of ours: whether its structures exclude each other


def read_description(path: Path) -> Description:
    """Read dataset.json, as nnU-Net 2 writes it or (labels by number, `modality`) nnU-Net 1 did.

    Raises UserError for a file that is missing or no such description, for an ignore label, and for file endings
    that are not read here.
    """
    data = _object(path)
    labels = data.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise _wrong(path, "'labels' is missing or no mapping of names to numbers")
    if all(str(key).isdigit() for key in labels):  # nnU-Net 1 has them the other way round
        labels = {str(name): int(number) for number, name in labels.items()}
    structures: dict[str, tuple[int, ...]] = {}
    for name, value in labels.items():
        ids = value if isinstance(value, list) else [value]
        if not ids or not all(type(each) is int and 0 <= each <= 255 for each in ids):
            raise _wrong(path, f"label '{name}' is {value!r}; a number from 0 to 255, or a list of them, is expected")
        structures[name] = tuple(sorted(set(ids)))
    if "ignore" in structures:
        raise UserError(
            "an 'ignore' label: here every pixel is trained on and scored, so ignored ones would count as background",
            where=path,
            remedy="annotate these regions, or make a copy of the dataset in which they belong to a label",
        )
    if structures.pop("background", (0,)) != (0,) or any(0 in ids for ids in structures.values()):
        raise _wrong(path, "label 0 must be 'background', and nothing else")
    if not structures:
        raise _wrong(path, "no label but the background")
    ending = str(data.get("file_ending", ".nii.gz" if "modality" in data else ""))
    if ending not in (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES):
        suffixes = ", ".join((*IMAGE_SUFFIXES, *VOLUME_SUFFIXES))
        raise _wrong(path, f"'file_ending' is '{ending}'; known here: {suffixes}", "convert the files")
    exclusive = data.get("exclusive")
    if exclusive is not None and not isinstance(exclusive, bool):
        raise _wrong(path, f"'exclusive' is {exclusive!r}; true or false is expected", "correct it, or take it away")
    names = {ids[0]: name for name, ids in structures.items() if len(ids) == 1}
    every = sorted({each for ids in structures.values() for each in ids})
    return Description(
        MappingProxyType(structures),
        MappingProxyType({each: names.get(each, f"label {each}") for each in every}),
        ending,
        _first_channel(data),
        exclusive,
    )


def nnunet_layout(description: Description, raw: Path) -> Arrangement:
    """imagesTr/CASE_0000.… and labelsTr/CASE.…; raises ListedError where a case has a second channel file."""
    names = [path.name for path in (raw / IMAGES).iterdir()] if (raw / IMAGES).is_dir() else []
    channels = Counter(
        match[1]
        for name in names
        if (match := re.fullmatch(rf"(.+)_\d{{4}}{re.escape(description.ending)}", name)) is not None
    )
    several = sorted(case for case, count in channels.items() if count > 1)
    if several:
        raise ListedError(
            f"{len(several)} case(s) have several channel files, and one is supported: a grey or RGB image, or one CT:",
            (f"{case}: {channels[case]} files" for case in several),
            where=raw / IMAGES,
            remedy="join them into one RGB file, or keep the channel you need as CASE_0000",
        )
    ending = (description.ending,)
    pair = FilePair(IMAGES, (LABELS,), ending, ending, image_name=r"(?P<id>.+)_0000")
    return (pair,)


def _first_channel(data: Mapping[str, Any]) -> str:
    """As nnU-Net 2 names it in `channel_names`, nnU-Net 1 in `modality`; "" where neither tells."""
    channels = data.get("channel_names", data.get("modality"))
    return str(channels.get("0", "")) if isinstance(channels, dict) else ""


def _object(path: Path) -> dict[str, Any]:
    try:
        data = read_user_json(path)
    except FileNotFoundError:
        raise UserError(
            "dataset.json of nnU-Net is missing",
            where=path,
            remedy="let 'raw' name the folder that holds imagesTr, labelsTr and dataset.json",
        ) from None
    if not isinstance(data, dict):
        raise _wrong(path, "a mapping is expected")
    if "dataset" in data:
        raise _wrong(
            path, "it lists the files of each case in 'dataset'", "copy or link them into imagesTr and labelsTr"
        )
    return data


def _wrong(
    path: Path, what: str, remedy: str = "correct it; nnU-Net's documentation describes the format"
) -> UserError:
    return UserError(f"dataset.json is not as expected: {what}", where=path, remedy=remedy)
