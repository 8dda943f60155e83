"""Finding the raw files of a dataset: which folders hold them, which labels belong to which image.

Each dataset has one or more arrangements in which its owner or a well-known mirror ships it. The first one that is
there is taken whole; every file in it must find its partner.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import sha256_file, sha256_text
from sdseg.datasets.sources import Source
from sdseg.io.dicom_series import series_files

__all__ = [
    "Arrangement",
    "FilePair",
    "RawCase",
    "UnpairedError",
    "annotated_case",
    "annotators_of",
    "check_folder",
    "find_cases",
    "natural",
]


SEVERAL = " (by several annotators? then say who drew which: 'annotators', docs/annotators.md)"


@dataclass(frozen=True)
class RawCase:
    """One image or volume and its label."""

    id: str
    image: Path  # a file, or the folder of a DICOM series
    label: Path
    group: str | None = None  # sequence or patient, where it is known without a split file
    split: str | None = None  # train, val or test, where the raw files say so themselves
    # The label of each annotator by his name, `label` the first; empty where nobody tells annotators apart.
    annotations: tuple[tuple[str, Path], ...] = ()

    @property
    def label_files(self) -> tuple[Path, ...]:
        """The file of the label, or those of all annotators, each once."""
        return tuple(dict.fromkeys(path for _, path in self.annotations)) or (self.label,)

    @property
    def image_files(self) -> tuple[Path, ...]:
        """The file of the image, or those of its series."""
        return series_files(self.image) if self.image.is_dir() else (self.image,)

    @property
    def checksum(self) -> str:
        """SHA-256 of the image's file; of a series, over name and SHA-256 of each of its files."""
        if not self.image.is_dir():
            return sha256_file(self.image)
        return sha256_text("".join(f"{sha256_file(path)}  {path.name}\n" for path in self.image_files))


class UnpairedError(ListedError):
    """Files without partner, or under a name that is taken; `cases` of `source` are complete pairs."""

    def __init__(self, source: Source, cases: tuple[RawCase, ...], problems: Iterable[str], where: Path) -> None:
        ordered = sorted(problems, key=natural)
        super().__init__(
            f"the raw files of {source.title} are not complete pairs ({len(ordered)} problem(s)):",
            ordered,
            where=where,
            remedy=f"add the missing files or take their partners away; expected are {source.layout}",
        )
        self.source, self.cases = source, cases


@dataclass(frozen=True)
class FilePair:
    """A folder of images and the folders of their labels; the names' group `id` tells which belong together."""

    images: str
    labels: tuple[str, ...]
    image_suffixes: tuple[str, ...]
    label_suffixes: tuple[str, ...]
    image_name: str = r"(?P<id>.+)"  # of the name without its suffix
    label_name: str = r"(?P<id>.+)"
    series: bool = False  # a folder among the images is a DICOM series
    split: str | None = None  # the split of these cases, where the owner keeps each in folders of its own
    annotators: tuple[str, ...] = ()  # whose labels each folder holds; or a group `annotator` of the names tells


Arrangement = tuple[FilePair, ...]  # the folders of one way in which a dataset is shipped


def find_cases(source: Source, raw: Path, arrangements: Sequence[Arrangement] | None = None) -> tuple[RawCase, ...]:
    """Every case under `raw`, in natural order of their ids (2 before 10); `arrangements`: the source's unless given.

    Raises UserError where the folder is missing, empty or arranged otherwise, ListedError with every image without
    label, label without image, file whose name does not fit, and id found twice.
    """
    check_folder(source, raw)
    if arrangements is None and not LAYOUTS[source.name]:
        from sdseg.datasets.lidc import lidc_cases  # it reads DICOM

        return lidc_cases(source, raw)
    for pairs in arrangements or LAYOUTS[source.name]:
        if any((raw / folder).is_dir() for pair in pairs for folder in (pair.images, *pair.labels)):
            return _collect(source, raw, pairs)
    names = ", ".join(sorted(entry.name for entry in raw.iterdir() if not entry.name.startswith("."))[:6])
    raise _misplaced(source, raw, f"no files of {source.title} where they are expected; the raw folder holds {names}")


def check_folder(source: Source, raw: Path) -> None:
    """Raise UserError unless `raw` is a folder with something in it."""
    if not raw.exists():
        raise _misplaced(source, raw, f"the raw folder of {source.title} is missing")
    if not raw.is_dir():
        raise _misplaced(source, raw, "the raw folder is a file")
    if not any(not entry.name.startswith(".") for entry in raw.iterdir()):
        raise _misplaced(source, raw, f"the raw folder of {source.title} is empty")


def _misplaced(source: Source, raw: Path, what: str) -> UserError:
    come_by = f"get the dataset from {source.page} and lay it" if source.page else "lay your files"
    return UserError(
        what,
        where=raw,
        remedy=f"{come_by} there as {source.layout}; "
        "or let 'raw' of the configuration name the folder that holds your copy",
    )


def _collect(source: Source, raw: Path, pairs: Arrangement) -> tuple[RawCase, ...]:
    problems: list[str] = []
    cases: dict[str, RawCase] = {}
    for pair in pairs:
        shown = _files(raw, (pair.images,), pair.image_suffixes, pair.image_name, problems, pair.series)
        images = {name: path for (name, _), path in shown.items()}
        labels: dict[str, dict[str, Path]] = defaultdict(dict)
        hint = SEVERAL if source.name == "own" else ""
        drawn = (raw, pair.labels, pair.label_suffixes, pair.label_name, problems)
        for (name, annotator), path in _files(*drawn, annotators=pair.annotators, hint=hint).items():
            labels[name][annotator] = path
        problems += [
            f"image without mask: {_short(images[name], raw)} (expected in {' or '.join(pair.labels)})"
            for name in images.keys() - labels.keys()
        ]
        problems += [
            f"mask without image: {_short(path, raw)} (expected in {pair.images})"
            for name in labels.keys() - images.keys()
            for path in labels[name].values()
        ]
        for name in images.keys() & labels.keys():
            if name in cases:
                problems.append(f"id '{name}' twice: {_short(cases[name].image, raw)}, {_short(images[name], raw)}")
            cases[name] = annotated_case(name, images[name], labels[name], split=pair.split)
    ordered = tuple(cases[name] for name in sorted(cases, key=natural))
    if problems:
        raise UnpairedError(source, ordered, problems, raw)
    if not ordered:
        raise _misplaced(source, raw, f"the raw folder holds the folders of {source.title} but no image in them")
    return ordered


def _files(
    raw: Path,
    folders: tuple[str, ...],
    suffixes: tuple[str, ...],
    name: str,
    problems: list[str],
    series: bool = False,
    annotators: tuple[str, ...] = (),
    hint: str = "",
) -> dict[tuple[str, str], Path]:
    """The files with one of `suffixes` by id and annotator, who is "" where nothing tells him.

    What does not fit is added to `problems`.
    """
    paths: dict[tuple[str, str], Path] = {}
    for folder, owner in zip(folders, annotators or ("",) * len(folders), strict=True):
        for path in sorted((raw / folder).iterdir()) if (raw / folder).is_dir() else ():
            stem = _stem(path, suffixes, series)
            if stem is None or path.name.startswith("."):
                continue
            match = re.fullmatch(name, stem)
            annotator = (match.groupdict().get("annotator", owner) or "") if match else ""
            if match is None or (not annotator and "annotator" in match.groupdict()):
                problems.append(f"file name not understood: {_short(path, raw)}")
                continue
            key = (match["id"], annotator)
            if key in paths:
                problems.append(f"id '{key[0]}' twice: {_short(paths[key], raw)}, {_short(path, raw)}{hint}")
            else:
                paths[key] = path
    return paths


def annotated_case(
    name: str, image: Path, labels: Mapping[str, Path], group: str | None = None, split: str | None = None
) -> RawCase:
    """A case whose `labels` are those of one or more annotators by their names, "" for one who has none."""
    ordered = tuple((annotator, labels[annotator]) for annotator in sorted(labels, key=natural))
    return RawCase(name, image, ordered[0][1], group, split, ordered if ordered[0][0] or len(ordered) > 1 else ())


def annotators_of(cases: Iterable[RawCase]) -> tuple[str, ...]:
    """Everyone who drew a label of one of the cases, in natural order; nobody where annotators are not told apart."""
    return tuple(sorted({name for case in cases for name, _ in case.annotations}, key=natural))


def _stem(path: Path, suffixes: tuple[str, ...], series: bool) -> str | None:
    """The name without its suffix, None for what is neither such a file nor, with `series`, a folder."""
    if path.is_dir():
        return path.name if series else None
    suffix = next((ending for ending in suffixes if path.name.lower().endswith(ending)), None)
    return path.name[: -len(suffix)] if suffix else None  # a pipe, or a link to nowhere, is told when it is read


def _short(path: Path, raw: Path) -> str:
    return path.relative_to(raw).as_posix()


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorting key that counts: frame 2 comes before frame 10."""
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part)


def _cvc(folder: str, suffix: tuple[str, ...]) -> Arrangement:
    number = r"(?P<id>\d+)"
    return (FilePair(f"{folder}Original", (f"{folder}Ground Truth",), suffix, suffix, number, number),)


def _refuge(*folders: tuple[str, *tuple[str, ...]]) -> Arrangement:
    return tuple(FilePair(images, tuple(masks), _JPEG, (".bmp", ".png")) for images, *masks in folders)


def _volumes(images: str, labels: str, image_name: str, label_name: str) -> Arrangement:
    suffixes = (".nii.gz", ".nii")
    return (FilePair(images, (labels,), suffixes, suffixes, image_name, label_name),)


def _isic2018() -> Arrangement:
    number, parts = r"(?P<id>ISIC_\d{7})", {"Training": "train", "Validation": "val", "Test": "test"}
    return tuple(
        FilePair(
            f"ISIC2018_Task1-2_{part}_Input",
            (f"ISIC2018_Task1_{part}_GroundTruth",),
            _JPEG,
            (".png",),
            number,
            f"{number}_segmentation",
            split=split,
        )
        for part, split in parts.items()
    )


_JPEG = (".jpg", ".jpeg")
_TIFF = (".tif", ".tiff")
_ROI = r"(?P<id>ROI_L_\d{3})"
_TEST_MASKS = ("REFUGE-Test-GT/Disc_Cup_Masks/G", "REFUGE-Test-GT/Disc_Cup_Masks/N")
_TRAIN_MASKS = "Annotation-Training400/Disc_Cup_Masks"
_VALIDATION_MASKS = "REFUGE-Validation400-GT/Disc_Cup_Masks"

# By dataset: its arrangements, the preferred one first.
LAYOUTS: Mapping[str, tuple[Arrangement, ...]] = MappingProxyType(
    {
        "cvc": (
            _cvc("PNG/", (".png",)),
            _cvc("", (*_TIFF, ".png")),
            _cvc("TIF/", _TIFF),
            _cvc("CVC-ClinicDB/", (*_TIFF, ".png")),
        ),
        "kseg": (
            (FilePair("Kvasir-SEG/images", ("Kvasir-SEG/masks",), _JPEG, _JPEG),),
            (FilePair("images", ("masks",), _JPEG, _JPEG),),
        ),
        "refuge2": (
            _refuge(
                ("Training400/Glaucoma", f"{_TRAIN_MASKS}/Glaucoma"),
                ("Training400/Non-Glaucoma", f"{_TRAIN_MASKS}/Non-Glaucoma"),
                ("REFUGE-Validation400", _VALIDATION_MASKS),
                ("Test400", *_TEST_MASKS),
            ),
            _refuge(*((f"REFUGE2/{part}/images", f"REFUGE2/{part}/mask") for part in ("train", "val", "test"))),
            _refuge(*((f"{part}/images", f"{part}/mask") for part in ("train", "val", "test"))),
        ),
        "btcv": (
            _volumes("RawData/Training/img", "RawData/Training/label", r"img(?P<id>\d{4})", r"label(?P<id>\d{4})"),
            _volumes("Training/img", "Training/label", r"img(?P<id>\d{4})", r"label(?P<id>\d{4})"),
        ),
        "sts": (
            _volumes("labelled/image", "labelled/label", r"Teeth_(?P<id>\d{4})_0000", r"Teeth_(?P<id>\d{4})_0000"),
        ),
        "isic2018": (_isic2018(),),
        "lidc": (),  # lies anywhere: datasets/lidc.py
        "sts-zenodo": tuple(
            _volumes(f"{folder}ROI/Labeled/Image", f"{folder}ROI/Labeled/Mask", _ROI, _ROI)
            for folder in ("SD-Tooth/STS-3D-Tooth/", "STS-3D-Tooth/", "")
        ),
    }
)
