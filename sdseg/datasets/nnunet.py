"""nnU-Net's dataset.json and file names: labels, regions, and one file per case and channel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sdseg.config.channels import ID, without_twins
from sdseg.config.normalisation import CHANNEL_NAME
from sdseg.core.errors import UserError
from sdseg.core.yaml_json import read_user_json
from sdseg.datasets.layouts import Arrangement, ChannelFiles, FilePair
from sdseg.io.images import IMAGE_SUFFIXES
from sdseg.io.volumes import VOLUME_SUFFIXES

__all__ = ["Description", "nnunet_layout", "read_description"]

IMAGES, LABELS = "imagesTr", "labelsTr"
CHANNEL = r".+_(\d{4})"  # ends the names of images


@dataclass(frozen=True)
class Description:
    """What dataset.json says."""

    structures: Mapping[str, tuple[int, ...]]  # name of a label or region -> its ids; background left out
    labels: Mapping[int, str]  # every id with a name
    ending: str  # of every file, with its dot
    channels: tuple[str, ...] = ()  # names in their order: CT for nnU-Net means values in Hounsfield units
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
        _channel_names(data, path),
        exclusive,
    )


def nnunet_layout(description: Description, raw: Path) -> tuple[Arrangement, tuple[str, ...]]:
    """imagesTr/CASE_0000.…, CASE_0001.… and labelsTr/CASE.…, and the names of the channels; none where there is one.

    Images with `CASE_0000` alone are colour or grey ones in one file, however many channels are named. Raises UserError
    where files have more channels than dataset.json names, and for names that are none of channels.
    """
    names = [path.name for path in (raw / IMAGES).iterdir()] if (raw / IMAGES).is_dir() else []
    numbers = {
        int(match[1]) for name in names if (match := re.fullmatch(CHANNEL + re.escape(description.ending), name))
    }
    channels, last = description.channels, max(numbers, default=0)
    if last >= max(1, len(channels)):
        named = f"names {len(channels)} ({', '.join(channels)})" if channels else "names none"
        raise UserError(
            f"{IMAGES} holds channels up to _{last:04d}, and dataset.json {named}",
            where=raw / "dataset.json",
            remedy='name every channel in \'channel_names\', as {"0": "T1", "1": "T2"}, or take the other files away',
        )
    ending = (description.ending,)
    if len(channels) < 2 or (not last and description.ending in IMAGE_SUFFIXES):
        return (FilePair(IMAGES, (LABELS,), ending, ending, image_name=r"(?P<id>.+)_0000"),), ()
    _check_names(channels, raw / "dataset.json")
    files = tuple(
        ChannelFiles(name, IMAGES, rf"(?P<id>.+)_{number:04d}", f"{IMAGES}/{ID}_{number:04d}{description.ending}")
        for number, name in enumerate(channels)
    )
    return (FilePair(IMAGES, (LABELS,), ending, ending, channels=files),), channels


def _channel_names(data: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """As nnU-Net 2 names them in `channel_names`, nnU-Net 1 in `modality`; none where neither tells."""
    channels = data.get("channel_names", data.get("modality"))
    if not isinstance(channels, dict):
        return ()
    if sorted(map(str, channels)) != sorted(map(str, range(len(channels)))):
        raise _wrong(path, f"'channel_names' has the keys {', '.join(map(str, channels))}; 0, 1, 2, … are expected")
    return without_twins(str(channels[key]).strip() or f"channel {key}" for key in sorted(channels, key=int))


def _check_names(channels: tuple[str, ...], path: Path) -> None:
    wrong = [name for name in channels if not re.fullmatch(CHANNEL_NAME, name)]
    if wrong:
        names = ", ".join(f"'{name}'" for name in wrong)
        raise _wrong(
            path,
            f"'channel_names' has {names}: here the name of a channel has up to 50 characters, and no '/', '\\' or '='",
            "rename it there, as 'T1-pre'",
        )


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
