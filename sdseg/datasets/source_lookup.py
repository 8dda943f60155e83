"""What is known of a dataset before its files are looked at: all that a plan needs, without a library of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType

from sdseg.artifacts.image_contract import Structure
from sdseg.config.channels import check_channel_names
from sdseg.config.dataset import Dataset, Own
from sdseg.core.errors import UserError, nearest
from sdseg.datasets.mask_values import ExactValues, MaskCoding
from sdseg.datasets.sources import Source, source_named

__all__ = ["declared_source", "known_source", "makes_split", "own_source"]

WORDS = {
    "folders": "pairs of files in '{images}' and '{masks}'",
    "nnunet": "imagesTr/CASE_0000.…, labelsTr/CASE.… and dataset.json of nnU-Net",
    "table": "the table '{table}' and the files it names",
}


def known_source(settings: Dataset) -> Source | None:
    """The record as far as it is known without the raw files; None where only they tell (nnU-Net's dataset.json)."""
    return source_named(settings.source) if settings.own is None else declared_source(settings.own)


def makes_split(settings: Dataset) -> bool:
    """Whether the split of the dataset is made from its raw files, since there is no file of it to read."""
    if settings.split_file is not None or settings.origin == "phantom":  # phantoms bring their own
        return False
    return settings.own is not None or source_named(settings.source).split_by != "file"


def declared_source(own: Own) -> Source | None:
    """The record of the dataset as far as the configuration tells; None where dataset.json must be read first."""
    return None if own.layout == "nnunet" else own_source(own, {name: (value,) for value, name in own.labels.items()})


def own_source(
    own: Own,
    names: Mapping[str, tuple[int, ...]],
    labels: Mapping[int, str] | None = None,
    channels: tuple[str, ...] | None = None,
) -> Source:
    """The record; `names` gives the label ids of everything that a target may name, `channels` those that a file names.

    Raises UserError where `own` says something of channels that there are not.
    """
    targets = {
        target: tuple(
            Structure(name=name, values=_values(members, names, labels or own.labels, f"target '{target}'"))
            for name, members in structures.items()
        )
        for target, structures in own.targets.items()
    } or {"all": tuple(Structure(name=name, values=values) for name, values in names.items())}
    images = own.images or "', '".join(own.channels.values())
    source = Source(
        name="own",
        title=own.title,
        modality=own.modality,
        page="",
        licence="",
        layout=WORDS[own.layout].format(
            images=images, masks=own.masks or "', '".join(own.annotators.values()), table=own.table
        ),
        labels=MappingProxyType(dict(labels or own.labels)),
        targets=MappingProxyType(targets),
        windows=MappingProxyType(_windows(own)),
        normalisation=own.per_volume,
        coding=_coding(own, labels or own.labels),
        split_by="drawn",
        annotators=max(1, len(own.annotators)),
    )
    return _with_channels(source, own, tuple(own.channels) if channels is None else channels)


def _with_channels(source: Source, own: Own, names: tuple[str, ...]) -> Source:
    if own.layout == "nnunet":  # else the configuration was checked by itself
        check_channel_names(names, own.shown_channel, own.normalisation, "dataset.json and the dataset's settings")
    return replace(
        source,
        channels=names,
        normalisations=tuple(own.by_channel[name] for name in names) if own.by_channel else (),
        shown_channel=names.index(own.shown_channel) if own.shown_channel is not None else 0,
    )


def _values(
    members: Sequence[int | str], names: Mapping[str, tuple[int, ...]], labels: Mapping[int, str], where: str
) -> tuple[int, ...]:
    values: set[int] = set()
    for member in members:
        label_ids = names.get(member) if isinstance(member, str) else (member,) if member in labels else None
        if label_ids is None:
            raise UserError(
                f"{where} names label '{member}', {nearest(str(member), [*names, *map(str, labels)])}",
                where="'targets' of the dataset's settings",
                remedy="choose among the labels of dataset.json",
            )
        values |= set(label_ids)
    return tuple(sorted(values))


def _windows(own: Own) -> dict[str, tuple[float, float]]:
    """The windows by name; of volumes that are normalised one by one that of the normalised values."""
    if own.per_volume is not None:
        return {own.per_volume.method: own.per_volume.window}
    if own.by_channel:  # each from its own lower end to its own upper one
        return {"by channel": (0.0, 1.0)}
    return dict(own.windows) or {"corrected": (0.0, 255.0)}


def _coding(own: Own, labels: Mapping[int, str]) -> MaskCoding | ExactValues | None:
    values = {0: 0, **own.exact_values} if own.mask_values else {0: 0, **{label: label for label in labels}}
    levels = sorted(values)
    if own.lossy_masks:
        limits = tuple((low + high) // 2 for low, high in pairwise(levels))
        return MaskCoding(tuple(levels), tuple(values[level] for level in levels), limits)
    if own.modality != "rgb" and not own.mask_values:
        return None
    return ExactValues(tuple((level, values[level]) for level in levels), own.value_ranges)
