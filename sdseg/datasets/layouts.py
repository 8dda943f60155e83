"""Finding the raw files of a dataset: which folders hold them, which labels belong to which image.

Each dataset has one or more arrangements in which its owner or a well-known mirror ships it. The first one that is
there is taken whole; every file in it must find its partner.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from sdseg.config.channels import ID
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import sha256_file, sha256_text
from sdseg.datasets.named_files import NOT_UNDERSTOOD, files_by_id, is_there, natural, short_path
from sdseg.datasets.sources import Source
from sdseg.io.dicom_series import series_files

__all__ = [
    "Arrangement",
    "ChannelFiles",
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
    # The image of each channel by its name, `image` the first; empty where there is one file.
    channels: tuple[tuple[str, Path], ...] = ()

    @property
    def images(self) -> tuple[Path, ...]:
        """The image of each channel in their order, or the one there is."""
        return tuple(path for _, path in self.channels) or (self.image,)

    @property
    def label_files(self) -> tuple[Path, ...]:
        """The file of the label, or those of all annotators, each once."""
        return tuple(dict.fromkeys(path for _, path in self.annotations)) or (self.label,)

    @property
    def image_files(self) -> tuple[Path, ...]:
        """The file of the image, or those of its series; of all channels."""
        return tuple(file for image in self.images for file in _files_of(image))

    @property
    def checksum(self) -> str:
        """SHA-256 of the image's file; of a series or of channels, over name and SHA-256 of each of their files."""
        if not self.channels and not self.image.is_dir():
            return sha256_file(self.image)
        return sha256_text("".join(f"{sha256_file(path)}  {path.name}\n" for path in self.image_files))


@dataclass(frozen=True)
class ChannelFiles:
    """Where the files of one channel lie."""

    name: str
    place: str  # a folder below the raw one, or a pattern
    file_name: str = r"(?P<id>.+)"  # of the name without its suffix, in a folder
    example: str = ""  # a file in words, with {id}; default: the place

    def expected(self, name: str) -> str:
        """Where the file of case `name` should be, for messages."""
        return (self.example or self.place).replace(ID, name)


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
    channels: tuple[ChannelFiles, ...] = ()  # in the place of `images`, where a case has several files

    @property
    def places(self) -> tuple[str, ...]:
        """Where its files lie: folders, and patterns."""
        images = tuple(channel.place for channel in self.channels) or (self.images,)
        return *images, *self.labels


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
        if any(is_there(raw, place) for pair in pairs for place in pair.places):
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
        channels, incomplete = _channels(raw, pair, problems)
        images = {name: next(iter(by_channel.values())) for name, by_channel in channels.items()}
        labels: dict[str, dict[str, Path]] = defaultdict(dict)
        hint = SEVERAL if source.name == "own" else ""
        drawn = (raw, pair.labels, pair.label_suffixes, pair.label_name, problems)
        for (name, annotator), path in files_by_id(*drawn, annotators=pair.annotators, hint=hint).items():
            labels[name][annotator] = path
        problems += [
            f"image without mask: {short_path(images[name], raw)} (expected in {' or '.join(pair.labels)})"
            for name in images.keys() - labels.keys()
        ]
        problems += [
            f"mask without image: {short_path(path, raw)} (expected in {pair.places[0]})"
            for name in labels.keys() - images.keys() - incomplete
            for path in labels[name].values()
        ]
        for name in images.keys() & labels.keys():
            if name in cases:
                problems.append(
                    f"id '{name}' twice: {short_path(cases[name].image, raw)}, {short_path(images[name], raw)}"
                )
            case = annotated_case(name, images[name], labels[name], split=pair.split)
            cases[name] = replace(case, channels=tuple(channels[name].items()) if pair.channels else ())
    ordered = tuple(cases[name] for name in sorted(cases, key=natural))
    if problems:
        raise UnpairedError(source, ordered, problems, raw)
    if not ordered:
        raise _misplaced(source, raw, f"the raw folder holds the folders of {source.title} but no image in them")
    return ordered


def _channels(raw: Path, pair: FilePair, problems: list[str]) -> tuple[dict[str, dict[str, Path]], set[str]]:
    """The files of each complete case by channel, one of no name where there is but one; and the other cases.

    Of those that lack channels each is one problem.
    """
    wanted = pair.channels or (ChannelFiles("", pair.images, pair.image_name),)
    by_id: dict[str, dict[str, Path]] = defaultdict(dict)
    not_understood: dict[str, list[set[str]]] = defaultdict(list)  # by place
    for channel in wanted:
        own: list[str] = []
        place = (raw, (channel.place,), pair.image_suffixes, channel.file_name, own, pair.series)
        for (name, _), path in files_by_id(*place).items():
            by_id[name][channel.name] = path
        not_understood[channel.place].append({each for each in own if each.startswith(NOT_UNDERSTOOD)})
        problems += [each for each in own if not each.startswith(NOT_UNDERSTOOD)]
    for names in not_understood.values():  # in a folder that channels share a name is that of one of them
        problems += set.intersection(*names)
    lacking = {
        name: [f"{one.name} (expected: {one.expected(name)})" for one in wanted if one.name not in paths]
        for name, paths in by_id.items()
    }
    problems += [f"channels missing: case '{name}' lacks {', '.join(each)}" for name, each in lacking.items() if each]
    complete = {name: paths for name, paths in by_id.items() if not lacking[name]}
    return complete, by_id.keys() - complete.keys()


def annotated_case(
    name: str, image: Path, labels: Mapping[str, Path], group: str | None = None, split: str | None = None
) -> RawCase:
    """A case whose `labels` are those of one or more annotators by their names, "" for one who has none."""
    ordered = tuple((annotator, labels[annotator]) for annotator in sorted(labels, key=natural))
    return RawCase(name, image, ordered[0][1], group, split, ordered if ordered[0][0] or len(ordered) > 1 else ())


def annotators_of(cases: Iterable[RawCase]) -> tuple[str, ...]:
    """Everyone who drew a label of one of the cases, in natural order; nobody where annotators are not told apart."""
    return tuple(sorted({name for case in cases for name, _ in case.annotations}, key=natural))


def _files_of(image: Path) -> tuple[Path, ...]:
    return series_files(image) if image.is_dir() else (image,)


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
