"""How the files of a folder lie, told from their names: nnU-Net's way, a table, a folder of images and one of masks."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sdseg.core.errors import ListedError, UserError
from sdseg.datasets.find_annotators import annotated_columns, annotated_folders, annotated_names
from sdseg.datasets.folder_contents import FolderContent, Kind, folders_below, listed, stems
from sdseg.datasets.layouts import LAYOUTS
from sdseg.datasets.mask_meaning import EVEN
from sdseg.datasets.name_pairs import NamePair, pair_names
from sdseg.io.images import IMAGE_SUFFIXES, read_mask
from sdseg.io.volumes import VOLUME_SUFFIXES, read_volume

__all__ = ["FolderLayout", "find_layout", "sources_lying_so"]

MASKS = re.compile(
    r"mask|label|annot|segment|ground.?truth|(^|[^a-z])(gt|seg|manual|truth|lbl|labelstr)([^a-z]|$)", re.IGNORECASE
)
TABLE = "write a table of image and mask, and split or patient where known (docs/your-own-data.md, 'layout: table')"


@dataclass(frozen=True)
class FolderLayout:
    """What `own` of a dataset says of where its files lie, and whether they are images or volumes."""

    kind: Kind
    layout: Literal["folders", "nnunet", "table"]
    places: Mapping[str, Any] = field(default_factory=dict)  # images, masks, table, image_name, mask_name, annotators
    ignored: tuple[str, ...] = ()  # folders with images or volumes that belong to nothing here


def find_layout(
    raw: Path, images: str | None = None, masks: str | None = None, *, annotators: bool = False
) -> FolderLayout:
    """The layout of the files under `raw`; `images` and `masks` name their folders where the user does.

    `annotators`: the user says that the several masks of an image are each another person's, and not structures.

    Raises UserError or ListedError for a folder that is missing or empty, holds images and volumes side by side, images
    without masks, or several folders either of which may be meant.
    """
    if not raw.is_dir():
        what = "the folder is missing" if not raw.exists() else "this is a file, and a folder of data is expected"
        raise UserError(what, where=raw, remedy="name the folder that holds your images and masks")
    if images is None and masks is None:
        if (raw / "dataset.json").is_file() or (raw / "imagesTr").is_dir():
            return FolderLayout(_kind_in(raw / "imagesTr", raw), "nnunet")
        table = _table(raw, annotators)
        if table is not None:
            return table
    folders = folders_below(raw)
    if not folders:
        raise UserError(
            "no images and no volumes in the folder",
            where=raw,
            remedy=f"read are {', '.join((*IMAGE_SUFFIXES, *VOLUME_SUFFIXES))} and folders of DICOM series",
        )
    for named in (images, masks):
        if (
            named is not None
            and named not in folders
            and not (annotators and named == masks and (raw / named).is_dir())
        ):
            raise UserError(
                f"no images or volumes in '{named}'", where=raw, remedy=f"there are some in {listed(folders)}"
            )
    return _two_folders(raw, folders, images, masks, annotators)


def sources_lying_so(raw: Path) -> tuple[str, ...]:
    """Known datasets, all of whose folders are there as one of their layouts has them."""
    return tuple(
        name
        for name, arrangements in LAYOUTS.items()
        if any(
            all((raw / folder).is_dir() for pair in pairs for folder in (pair.images, *pair.labels))
            for pairs in arrangements
        )
    )


def _two_folders(
    raw: Path, folders: Mapping[str, FolderContent], images: str | None, masks: str | None, annotators: bool
) -> FolderLayout:
    by_name = _named_masks(raw, folders, images, masks, annotators)
    if by_name is not None:
        return by_name
    drawn = {name for name in folders if any(MASKS.search(part) for part in Path(name).parts)}
    paired = [
        (pair, one, other)
        for one in folders
        for other in folders
        if one != other and images in (None, one)
        if masks in (None, other) or (annotators and other.startswith(f"{masks}/"))
        if folders[one].kind == folders[other].kind and not folders[other].series
        if (pair := pair_names(folders[one].names, folders[other].names)).common
    ]
    if not paired:
        raise _no_masks(raw, folders)
    most = {one: max(pair.common for pair, each, _ in paired if each == one) for _, one, _ in paired}
    largest = max(most.values())
    likely = [each for each in paired if annotators or each[0].common == most[each[1]]]
    likely = [each for each in likely if 2 * each[0].common > largest]
    hinted = [each for each in likely if each[1] not in drawn and each[2] in drawn]
    named = hinted or [each for each in likely if _apart(each[1], each[2])] or likely
    if len(named) > 1:
        named = _by_content(raw, folders, named)
    chosen = {(one, other) for _, one, other in named}
    if annotators:
        return _by_annotator(raw, folders, named)
    if len(chosen) > 1:
        raise ListedError(
            f"{len(chosen)} pairs of folders may be the images and their masks:",
            (f"images in '{one}', masks in '{other}'" for one, other in sorted(chosen)),
            where=raw,
            remedy="name one with --images and --masks; where several people drew the masks: --annotators; where "
            "each case has a folder: patterns, images: '{id}/{id}_t1.nii.gz' (docs/your-own-data.md); where "
            "a case has several channels: 'channels' (docs/your-own-data.md); where "
            f"training and test lie apart, or masks of one structure each: {TABLE}",
        )
    pair, one, other = named[0]
    patterns = {"image_name": pair.first_pattern, "mask_name": pair.second_pattern}
    places = {"images": one, "masks": other, **{key: value for key, value in patterns.items() if value is not None}}
    return FolderLayout(
        folders[one].kind, "folders", places, tuple(name for name in folders if name not in (one, other))
    )


def _by_annotator(
    raw: Path, folders: Mapping[str, FolderContent], pairs: list[tuple[NamePair, str, str]]
) -> FolderLayout:
    """A folder of masks for each annotator, all called alike."""
    by_folder = annotated_folders([(one, other) for _, one, other in pairs])
    patterns = {(pair.first_pattern, pair.second_pattern) for pair, _, _ in pairs}
    if by_folder is None or len(patterns) > 1:
        seen = sorted({other for _, _, other in pairs})
        raise UserError(
            f"no masks of several annotators: masks lie in {', '.join(map(repr, seen))}",
            where=raw,
            remedy="leave --annotators out where there is one mask of each image; else give each annotator a folder, "
            "with his name in small letters, or write 'annotators' yourself (docs/annotators.md)",
        )
    images, places = by_folder
    first, second = patterns.pop()
    names = {key: value for key, value in (("image_name", first), ("mask_name", second)) if value is not None}
    used = {images, *places.values()}
    return FolderLayout(
        folders[images].kind,
        "folders",
        {"images": images, "annotators": places, **names},
        tuple(name for name in folders if name not in used),
    )


def _named_masks(
    raw: Path, folders: Mapping[str, FolderContent], images: str | None, masks: str | None, annotators: bool
) -> FolderLayout | None:
    """Several masks of each image in one folder, told apart by the ends of their names; None where there are none.

    Raises UserError where the user does not say that they are annotators'.
    """
    for one, other in ((one, other) for one in folders for other in folders if one != other):
        if images not in (None, one) or masks not in (None, other) or folders[one].kind != folders[other].kind:
            continue
        by_name = annotated_names(folders[one].names, folders[other].names)
        if by_name is None or pair_names(folders[one].names, folders[other].names).common == len(folders[one].names):
            continue
        pattern, everyone = by_name
        if not annotators:
            raise UserError(
                f"several masks of each image in '{other}', by the ends of their names: {', '.join(everyone)}",
                where=raw,
                remedy=f"where each is another person's: --annotators; masks of one structure each: {TABLE}, of masks "
                "with a value for each structure",
            )
        places = {"images": one, "masks": other, "mask_name": pattern}
        return FolderLayout(
            folders[one].kind, "folders", places, tuple(name for name in folders if name not in (one, other))
        )
    return None


def _by_content(
    raw: Path, folders: Mapping[str, FolderContent], pairs: list[tuple[NamePair, str, str]]
) -> list[tuple[NamePair, str, str]]:
    """Those whose masks look like masks and whose images do not; of them, for each folder the nearest ones."""
    drawn = {name: _few_values(raw / name, folders[name]) for pair in pairs for name in pair[1:]}
    fitting = [each for each in pairs if drawn[each[2]] and not drawn[each[1]]] or pairs

    def near(each: tuple[NamePair, str, str]) -> int:
        return len(Path(os.path.commonpath([f"/{each[1]}", f"/{each[2]}"])).parts)

    nearest = {one: max(near(each) for each in fitting if each[1] == one) for _, one, _ in fitting}
    return [each for each in fitting if near(each) == nearest[each[1]]]


def _few_values(folder: Path, content: FolderContent) -> bool:
    """Whether neighbouring pixels of the first file are equal nearly everywhere, as in masks."""
    if content.series:
        return False
    suffixes = IMAGE_SUFFIXES if content.kind == "images" else VOLUME_SUFFIXES
    first = min(path for path in folder.iterdir() if path.name.lower().endswith(suffixes) and path.name[0] != ".")
    try:
        values = read_mask(first, deep=True) if content.kind == "images" else read_volume(first)[0]
    except UserError:
        return False
    return bool((values[1:] == values[:-1]).mean() > EVEN)


def _apart(images: str, masks: str) -> bool:
    """Whether what the path of the masks has, and that of the images lacks, speaks of masks."""
    shared = set(Path(images).parts)
    return any(MASKS.search(part) for part in Path(masks).parts if part not in shared)


def _no_masks(raw: Path, folders: Mapping[str, FolderContent]) -> UserError:
    kinds = {each.kind for each in folders.values()}
    (first, one), *others = folders.items()
    if not others:
        beside = any(MASKS.search(name) for name in one.names)
        return UserError(
            f"images and masks lie in one folder, '{first}'"
            if beside
            else f"images without masks: '{first}' alone holds {one.kind} ({len(one.names)})",
            where=raw,
            remedy=f"move the masks to a folder of their own, or {TABLE}"
            if beside
            else "put the masks in a second folder, each under the name of its image",
        )
    if len(kinds) > 1 and len(folders) == 2:
        return UserError(
            f"mixed kinds: {'; '.join(f'{each.kind} in {name!r}' for name, each in folders.items())}",
            where=raw,
            remedy="images have images as masks, volumes have NIfTI volumes; convert one of them",
        )
    return UserError(
        f"images without masks: no two of the folders with images or volumes have names in common ({listed(folders)})",
        where=raw,
        remedy=f"give a mask the name of its image, with something before or behind it; or {TABLE}",
    )


def _table(raw: Path, annotators: bool) -> FolderLayout | None:
    """The one table of the folder that has the columns image and mask, or masks of several annotators."""
    tables = [
        path
        for path in sorted(raw.glob("*.csv"))
        if {"image", "mask"} <= set(_header(path)) or annotated_columns(_header(path))
    ]
    if not tables:
        return None
    if len(tables) > 1:
        raise UserError(
            f"{len(tables)} tables with the columns image and mask: {', '.join(path.name for path in tables)}",
            where=raw,
            remedy="keep one of them in the folder",
        )
    with tables[0].open(encoding="utf-8-sig", newline="") as stream:
        names = [str(line.get("image") or "") for line in csv.DictReader(stream)]
    kinds: set[Kind] = {"images" if name.lower().endswith(IMAGE_SUFFIXES) else "volumes" for name in names if name}
    if len(kinds) > 1:
        raise UserError(
            "mixed kinds: the table names images and volumes, and a dataset has one kind",
            where=tables[0],
            remedy="give each kind a table, and a dataset, of its own",
        )
    columns = annotated_columns(_header(tables[0]))
    if columns and not annotators and "mask" not in _header(tables[0]):
        raise UserError(
            f"several masks of each image, and no column mask: {', '.join(columns.values())}",
            where=tables[0],
            remedy="where each is another person's: --annotators; else name one of them mask",
        )
    places: dict[str, Any] = {"table": tables[0].name}
    return FolderLayout(next(iter(kinds), "images"), "table", places | ({"annotators": columns} if annotators else {}))


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return next(csv.reader(stream), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _kind_in(folder: Path, raw: Path) -> Kind:
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    pictures, volumes = (bool(stems(names, suffixes)) for suffixes in (IMAGE_SUFFIXES, VOLUME_SUFFIXES))
    if pictures and volumes:
        raise UserError(
            "images and volumes lie in one folder, and a dataset has one kind",
            where=folder,
            remedy="give each kind a dataset of its own",
        )
    if not (pictures or volumes):
        raise UserError(
            "no images and no volumes in imagesTr",
            where=raw,
            remedy="nnU-Net's layout has imagesTr/CASE_0000.…, labelsTr/CASE.… and dataset.json",
        )
    return "images" if pictures else "volumes"
