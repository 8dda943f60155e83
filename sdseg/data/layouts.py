"""Finding the raw files of a dataset: which folders hold them, which label belongs to which image, what masks mean.

Each dataset has one or more arrangements in which its owner or a well-known mirror ships it. The first one that is
there is taken whole; every file in it must find its partner.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from sdseg.data.sources import Source
from sdseg.errors import ListedError, UserError

__all__ = ["Layout", "MaskCoding", "Pair", "RawCase", "find_cases", "layout_of"]


@dataclass(frozen=True)
class RawCase:
    """One image or volume and its label."""

    id: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Pair:
    """A folder of images and the folders of their labels; the names' group `id` tells which belong together."""

    images: str
    labels: tuple[str, ...]
    image_suffixes: tuple[str, ...]
    label_suffixes: tuple[str, ...]
    image_name: str = r"(?P<id>.+)"  # of the name without its suffix
    label_name: str = r"(?P<id>.+)"


@dataclass(frozen=True)
class MaskCoding:
    """What the grey levels of a mask image mean.

    A pixel takes the id of its nearest level, with the limits between the levels stated. Pixels far from every level
    are the soft edge of a compressed or resized mask; more than `soft` of them (a share of the image) mean that the
    file is no mask.
    """

    levels: tuple[int, ...]  # ascending
    ids: tuple[int, ...]  # label id of each level
    limits: tuple[int, ...]  # the largest grey value of each level but the last
    soft: float = 0.05

    def decode(self, grey: npt.NDArray[np.uint8], path: Path) -> npt.NDArray[np.uint8]:
        """Label ids of a mask's grey levels, same shape. Raises UserError where the file is no such mask."""
        counted = np.bincount(grey.ravel(), minlength=256)
        names = ", ".join(str(level) for level in self.levels)
        if 0 < int(grey.max(initial=0)) < 4:
            raise UserError(
                f"mask values {np.flatnonzero(counted).tolist()} look like label numbers, not grey levels {names}",
                where=path,
                remedy="give the mask as its owner ships it",
            )
        far = np.abs(np.arange(256)[:, None] - np.array(self.levels)).min(axis=1) > self._tolerance
        share = counted[far].sum() / max(1, grey.size)
        if share > self.soft:
            unexpected = np.flatnonzero(far & (counted > 0))
            raise UserError(
                f"{share:.1%} of the mask's pixels are far from the grey levels {names} "
                f"(for example {', '.join(str(value) for value in unexpected[:5])})",
                where=path,
                remedy="check that this is the mask and not an image",
            )
        table = np.array(self.ids, dtype=np.uint8)[np.searchsorted(self.limits, np.arange(256))]
        return table[grey]

    @property
    def _tolerance(self) -> int:
        """How far a grey value may lie from a level: 40 % of the way to the next, which JPEG rarely exceeds."""
        return int(0.4 * min(np.diff(self.levels)) / 2)


@dataclass(frozen=True)
class Layout:
    """Arrangements of one dataset's files, the preferred one first, and the meaning of its mask images."""

    arrangements: tuple[tuple[Pair, ...], ...]
    coding: MaskCoding | None = None  # None: labels are volumes of ids


def layout_of(source: Source) -> Layout:
    """The layout of a dataset."""
    return LAYOUTS[source.name]


def find_cases(source: Source, raw: Path) -> tuple[RawCase, ...]:
    """Every case under `raw`, in natural order of their ids (2 before 10).

    Raises UserError where the folder is missing, empty or arranged otherwise, ListedError with every image without
    label, label without image, file whose name does not fit, and id found twice.
    """
    _check_folder(source, raw)
    for pairs in LAYOUTS[source.name].arrangements:
        if any((raw / folder).is_dir() for pair in pairs for folder in (pair.images, *pair.labels)):
            return _collect(source, raw, pairs)
    found = ", ".join(sorted(entry.name for entry in raw.iterdir() if not entry.name.startswith("."))[:6])
    raise _misplaced(source, raw, f"no files of {source.title} where they are expected; the raw folder holds {found}")


def _check_folder(source: Source, raw: Path) -> None:
    if not raw.exists():
        raise _misplaced(source, raw, f"the raw folder of {source.title} is missing")
    if not raw.is_dir():
        raise _misplaced(source, raw, "the raw folder is a file")
    if not any(not entry.name.startswith(".") for entry in raw.iterdir()):
        raise _misplaced(source, raw, f"the raw folder of {source.title} is empty")


def _misplaced(source: Source, raw: Path, what: str) -> UserError:
    return UserError(
        what,
        where=raw,
        remedy=f"get the dataset from {source.page} and lay it there as {source.layout}; "
        "or let 'raw' of the configuration name the folder that holds your copy",
    )


def _collect(source: Source, raw: Path, pairs: tuple[Pair, ...]) -> tuple[RawCase, ...]:
    problems: list[str] = []
    cases: dict[str, RawCase] = {}
    for pair in pairs:
        images = dict(_files(raw, (pair.images,), pair.image_suffixes, pair.image_name, problems))
        labels = dict(_files(raw, pair.labels, pair.label_suffixes, pair.label_name, problems))
        problems += [
            f"image without mask: {_short(images[name], raw)} (expected in {' or '.join(pair.labels)})"
            for name in images.keys() - labels.keys()
        ]
        problems += [
            f"mask without image: {_short(labels[name], raw)} (expected in {pair.images})"
            for name in labels.keys() - images.keys()
        ]
        for name in images.keys() & labels.keys():
            if name in cases:
                problems.append(f"id '{name}' twice: {_short(cases[name].image, raw)}, {_short(images[name], raw)}")
            cases[name] = RawCase(name, images[name], labels[name])
    if problems:
        raise ListedError(
            f"the raw files of {source.title} are not complete pairs ({len(problems)} problem(s)):",
            sorted(problems, key=_natural),
            where=raw,
            remedy=f"add the missing files or take their partners away; expected are {source.layout}",
        )
    if not cases:
        raise _misplaced(source, raw, f"the raw folder holds the folders of {source.title} but no image in them")
    return tuple(cases[name] for name in sorted(cases, key=_natural))


def _files(
    raw: Path, folders: tuple[str, ...], suffixes: tuple[str, ...], name: str, problems: list[str]
) -> Iterator[tuple[str, Path]]:
    """Ids and paths of the files with one of `suffixes`; what does not fit is added to `problems`."""
    seen: dict[str, Path] = {}
    entries = [path for folder in folders if (raw / folder).is_dir() for path in sorted((raw / folder).iterdir())]
    for path in entries:
        suffix = next((ending for ending in suffixes if path.name.lower().endswith(ending)), None)
        if suffix is None or path.name.startswith(".") or not path.is_file():
            continue
        match = re.fullmatch(name, path.name[: -len(suffix)])
        if match is None:
            problems.append(f"file name not understood: {_short(path, raw)}")
        elif match["id"] in seen:
            problems.append(f"id '{match['id']}' twice: {_short(seen[match['id']], raw)}, {_short(path, raw)}")
        else:
            seen[match["id"]] = path
            yield match["id"], path


def _short(path: Path, raw: Path) -> str:
    return path.relative_to(raw).as_posix()


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorting key that counts: frame 2 comes before frame 10."""
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part)


def _cvc(folder: str, suffix: tuple[str, ...]) -> tuple[Pair, ...]:
    number = r"(?P<id>\d+)"
    return (Pair(f"{folder}Original", (f"{folder}Ground Truth",), suffix, suffix, number, number),)


def _refuge(*folders: tuple[str, *tuple[str, ...]]) -> tuple[Pair, ...]:
    return tuple(Pair(images, tuple(masks), _JPEG, (".bmp", ".png")) for images, *masks in folders)


def _volumes(images: str, labels: str, image_name: str, label_name: str) -> tuple[Pair, ...]:
    suffixes = (".nii.gz", ".nii")
    return (Pair(images, (labels,), suffixes, suffixes, image_name, label_name),)


_JPEG = (".jpg", ".jpeg")
_TIFF = (".tif", ".tiff")
_POLYP_ON_BLACK = MaskCoding(levels=(0, 255), ids=(0, 1), limits=(127,))
_TEST_MASKS = ("REFUGE-Test-GT/Disc_Cup_Masks/G", "REFUGE-Test-GT/Disc_Cup_Masks/N")
_TRAIN_MASKS = "Annotation-Training400/Disc_Cup_Masks"
_VALIDATION_MASKS = "REFUGE-Validation400-GT/Disc_Cup_Masks"

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "cvc": Layout(
            arrangements=(
                _cvc("PNG/", (".png",)),
                _cvc("", (*_TIFF, ".png")),
                _cvc("TIF/", _TIFF),
                _cvc("CVC-ClinicDB/", (*_TIFF, ".png")),
            ),
            coding=MaskCoding(levels=(0, 255), ids=(0, 1), limits=(128,)),
        ),
        "kseg": Layout(
            arrangements=(
                (Pair("Kvasir-SEG/images", ("Kvasir-SEG/masks",), _JPEG, _JPEG),),
                (Pair("images", ("masks",), _JPEG, _JPEG),),
            ),
            coding=_POLYP_ON_BLACK,
        ),
        "refuge2": Layout(
            arrangements=(
                _refuge(
                    ("Training400/Glaucoma", f"{_TRAIN_MASKS}/Glaucoma"),
                    ("Training400/Non-Glaucoma", f"{_TRAIN_MASKS}/Non-Glaucoma"),
                    ("REFUGE-Validation400", _VALIDATION_MASKS),
                    ("Test400", *_TEST_MASKS),
                ),
                _refuge(*((f"REFUGE2/{part}/images", f"REFUGE2/{part}/mask") for part in ("train", "val", "test"))),
                _refuge(*((f"{part}/images", f"{part}/mask") for part in ("train", "val", "test"))),
            ),
            coding=MaskCoding(levels=(0, 128, 255), ids=(2, 1, 0), limits=(99, 199), soft=0.002),
        ),
        "btcv": Layout(
            arrangements=(
                _volumes("RawData/Training/img", "RawData/Training/label", r"img(?P<id>\d{4})", r"label(?P<id>\d{4})"),
                _volumes("Training/img", "Training/label", r"img(?P<id>\d{4})", r"label(?P<id>\d{4})"),
            )
        ),
        "sts": Layout(
            arrangements=(
                _volumes("labelled/image", "labelled/label", r"Teeth_(?P<id>\d{4})_0000", r"Teeth_(?P<id>\d{4})_0000"),
            )
        ),
    }
)
