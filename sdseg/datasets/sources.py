"""One frozen record per dataset: licence, labels, targets, windows. The only place that knows a dataset's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from types import MappingProxyType

from sdseg.artifacts.image_contract import ImageContract, Structure
from sdseg.config.normalisation import ChannelNormalisation, PerVolume
from sdseg.core.errors import UserError, nearest
from sdseg.datasets.mask_values import WHITE_ON_BLACK, ExactValues, MaskCoding

__all__ = ["SOURCES", "PhantomSize", "PublishedCount", "Quirk", "Source", "shared_labels", "source_named"]


@dataclass(frozen=True)
class Quirk:
    """How a published method treats intensities other than by one window for all; see docs/data.md."""

    train_clip: tuple[float, float]  # training slices are clipped here instead of at the window, and may leave [-1,1]
    stretch: bool  # other volumes: the smallest and largest value within the window become -1 and 1, volume by volume


@dataclass(frozen=True)
class PublishedCount:
    """How many slices the paper counts in some volumes."""

    what: str
    ids: frozenset[str]
    slices: int


@dataclass(frozen=True)
class PhantomSize:
    """How many cases its phantom has at scale 1, as `phantoms` writes it (a test compares the two)."""

    groups: int  # of cases that stay together in one split
    val: float  # share of the groups
    test: float
    fewest: int = 6  # groups, at any scale
    most: int = 1_000_000
    frames: int = 0  # cases of a group that is a sequence; 0: a group is one case
    slices: int = 1  # of a case


@dataclass(frozen=True)
class Source:
    """What is known of a dataset before its files are opened."""

    name: str
    title: str
    modality: str  # "rgb": one file is one case; "ct" and others: one volume is one case
    page: str
    licence: str
    layout: str  # the files as their owner ships them, in words, for messages
    labels: Mapping[int, str]  # label ids in the store; 0 is background
    targets: Mapping[str, tuple[Structure, ...]]  # named choices of what to segment; the first is the default
    windows: Mapping[str, tuple[float, float]] = field(  # raw values mapped to -1 and 1
        default_factory=lambda: MappingProxyType({"corrected": (0.0, 255.0)})
    )
    normalisation: PerVolume | None = None  # of each volume by itself, before it is seen through the window
    channels: tuple[str, ...] = ()  # of several files per case what each holds; none: one file
    normalisations: tuple[ChannelNormalisation, ...] = ()  # by channel, where they differ in it
    shown_channel: int = 0  # in pictures
    quirks: Mapping[str, Quirk] = field(default_factory=lambda: MappingProxyType({}))  # of the window of that name
    published: tuple[PublishedCount, ...] = ()
    coding: MaskCoding | ExactValues | None = None  # what the values of a mask file mean; None: they are the label ids
    exclusive: bool | None = None  # as the files say; None: structures exclude each other where they share no label
    split_by: str = "file"  # "file": committed; "folders": the owner's parts lie in folders; "drawn": by a seed
    parts: tuple[int, int, int] | None = None  # cases in the owner's folders: training, validation, test
    phantom: PhantomSize | tuple[int, int, int] | None = None  # or cases of the three parts at scale 1
    annotators: int = 1  # who drew a case, as far as it is known before

    def target(self, name: str | None) -> tuple[str, tuple[Structure, ...]]:
        """The chosen target, or the default one for None."""
        target = name or next(iter(self.targets))
        if target not in self.targets:
            raise UserError(
                f"{self.name} has no target '{target}', {nearest(target, self.targets)}",
                where="'target' of the dataset's settings",
                remedy="choose one of the targets named above",
            )
        return target, self.targets[target]

    def excludes(self, structures: tuple[Structure, ...], asked_for: bool | None) -> bool:
        """Whether these structures exclude each other in a pixel: as `wanted`, else as the data say, else by labels.

        Raises UserError where they shall, and cannot: the labels of one are those of another, too.
        """
        shared = shared_labels(structures)
        exclusive = self.exclusive if asked_for is None else asked_for
        if exclusive is None:
            return len(structures) > 1 and shared is None
        if exclusive and shared is not None:
            raise UserError(
                f"structures {shared}, so they cannot exclude each other",
                where="'exclusive' of the dataset's settings" if asked_for else "'exclusive' of dataset.json",
                remedy="set it to false, or choose a target whose structures share no label",
            )
        return exclusive

    def window(self, name: str | None) -> tuple[float, float]:
        """An intensity window by name, or the default one for None."""
        window = name or next(iter(self.windows))
        if window not in self.windows:
            raise UserError(
                f"{self.name} has no window '{window}', {nearest(window, self.windows)}",
                where="'window' of the dataset's settings",
                remedy="choose one of the windows named above",
            )
        return self.windows[window]

    def contract(self, window: str | None, size: int | tuple[int, int]) -> ImageContract:
        """What a model of these images wants as input, at a working size in pixels: of prepared data and of converted
        weights alike. Raises UserError for an unknown window.
        """
        quirk = self.quirks.get(window or "")
        normalised = self.normalisation is not None or bool(self.normalisations)
        return ImageContract(
            modality=self.modality,
            size=size,
            channels=len(self.channels) or (3 if self.modality == "rgb" else 1),
            channel_names=self.channels,
            shown_channel=self.shown_channel,
            window=self.window(window),
            normalisation=self.normalisation,
            normalisations=self.normalisations,
            dtype="float16" if normalised else "uint8" if self.modality == "rgb" else "int16",
            train_clip=quirk.train_clip if quirk else None,
            stretch=quirk.stretch if quirk else False,
        )


def source_named(name: str) -> Source:
    """The record of a dataset. Raises UserError for an unknown name."""
    if name not in SOURCES:
        raise UserError(
            f"unknown dataset source '{name}', {nearest(name, SOURCES)}",
            where="'source' of the dataset's settings",
            remedy="choose one of the sources named above",
        )
    return SOURCES[name]


def shared_labels(structures: tuple[Structure, ...]) -> str | None:
    """Two structures that have a label in common, in words; None where no two have."""
    for one, other in combinations(structures, 2):
        common = sorted(set(one.values) & set(other.values))
        if common:
            return f"'{one.name}' and '{other.name}' share label {', '.join(map(str, common))}"
    return None


def _merged(name: str, *values: int) -> tuple[Structure, ...]:
    return (Structure(name=name, values=values),)


_POLYP = MappingProxyType({"polyp": _merged("polyp", 1)})
_ORGANS = (
    "spleen",
    "right kidney",
    "left kidney",
    "gallbladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "inferior vena cava",
    "portal and splenic vein",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
)

# Volumes of the paper and of TransUNet, whose test volumes these are.
_BTCV = frozenset(f"{number:04d}" for number in (*range(1, 11), *range(21, 41)))
_BTCV_TEST = frozenset(f"{number:04d}" for number in (1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38))

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        source.name: source
        for source in (
            Source(
                name="cvc",
                title="CVC-ClinicDB",
                modality="rgb",
                page="https://polyp.grand-challenge.org/CVCClinicDB/",
                licence="research and education only",
                layout="PNG/Original/N.png and PNG/Ground Truth/N.png (or Original/N.tif and Ground Truth/N.tif)",
                labels=MappingProxyType({1: "polyp"}),
                targets=_POLYP,
                coding=MaskCoding(levels=(0, 255), ids=(0, 1), limits=(128,)),
                phantom=PhantomSize(groups=29, val=0.1, test=0.17, frames=8),
            ),
            Source(
                name="kseg",
                title="Kvasir-SEG",
                modality="rgb",
                page="https://datasets.simula.no/kvasir-seg/",
                licence="research and education only",
                layout="Kvasir-SEG/images/*.jpg and Kvasir-SEG/masks/*.jpg",
                labels=MappingProxyType({1: "polyp"}),
                targets=_POLYP,
                coding=WHITE_ON_BLACK,
                phantom=PhantomSize(groups=300, val=0.1, test=0.12, fewest=10),
            ),
            Source(
                name="refuge2",
                title="REFUGE2",
                modality="rgb",
                page="https://refuge.grand-challenge.org/",
                licence="challenge terms, research only",
                layout="Training400/{Glaucoma,Non-Glaucoma}/*.jpg with Annotation-Training400/Disc_Cup_Masks/…/*.bmp, "
                "REFUGE-Validation400/*.jpg with REFUGE-Validation400-GT/Disc_Cup_Masks/*.bmp, "
                "Test400/*.jpg with REFUGE-Test-GT/Disc_Cup_Masks/{G,N}/*.bmp",
                labels=MappingProxyType({1: "disc without cup", 2: "cup"}),
                targets=MappingProxyType(
                    {
                        "cup": _merged("cup", 2),
                        "disc": _merged("disc", 1, 2),
                        "disc-cup": (
                            Structure(name="disc", values=(1, 2)),
                            Structure(name="cup", values=(2,)),
                        ),
                    }
                ),
                coding=MaskCoding(levels=(0, 128, 255), ids=(2, 1, 0), limits=(99, 199), soft=0.002),
                phantom=(200, 30, 40),
            ),
            Source(
                name="btcv",
                title="BTCV abdomen",
                modality="ct",
                page="https://www.synapse.org/#!Synapse:syn3193805",
                licence="Synapse account and terms of use",
                layout="RawData/Training/img/imgNNNN.nii.gz and RawData/Training/label/labelNNNN.nii.gz",
                labels=MappingProxyType(dict(enumerate(_ORGANS, start=1))),
                targets=MappingProxyType(
                    {
                        "organs13": _merged("organs", *range(1, 14)),
                        "organs8": _merged("organs", 1, 2, 3, 4, 6, 7, 8, 11),
                        "classes13": tuple(
                            Structure(name=name, values=(index,)) for index, name in enumerate(_ORGANS, start=1)
                        ),
                    }
                ),
                windows=MappingProxyType(
                    {
                        "corrected": (-175.0, 250.0),
                        "transunet": (-125.0, 275.0),
                        "official": (-125.0, 275.0),
                    }
                ),
                quirks=MappingProxyType({"official": Quirk(train_clip=(-175.0, 250.0), stretch=True)}),
                published=(
                    PublishedCount("the 18 training volumes", _BTCV - _BTCV_TEST, 2211),
                    PublishedCount("the 12 test volumes", _BTCV_TEST, 1568),
                ),
                phantom=PhantomSize(groups=16, val=0.15, test=0.25, most=30, slices=24),
            ),
            Source(
                name="sts",
                title="STS-3D",
                modality="ct",
                page="https://tianchi.aliyun.com/competition/entrance/532087",
                licence="challenge terms, registration",
                layout="labelled/image/Teeth_NNNN_0000.nii.gz and labelled/label/Teeth_NNNN_0000.nii.gz",
                labels=MappingProxyType({1: "tooth"}),
                targets=MappingProxyType({"tooth": _merged("tooth", 1)}),
                windows=MappingProxyType({"corrected": (-1000.0, 3095.0), "official": (-100.0, 1100.0)}),
                published=(
                    PublishedCount("the 9 training volumes", frozenset(f"{n:04d}" for n in range(1, 10)), 2505),
                    PublishedCount("the 3 test volumes", frozenset(("0010", "0011", "0012")), 600),
                ),
                phantom=PhantomSize(groups=12, val=0.15, test=0.25, slices=28),
            ),
            Source(
                name="isic2018",
                title="ISIC 2018 task 1",
                modality="rgb",
                page="https://challenge.isic-archive.com/data/#2018",
                licence="CC BY-NC",
                layout="ISIC2018_Task1-2_{Training,Validation,Test}_Input/ISIC_NNNNNNN.jpg and "
                "ISIC2018_Task1_{Training,Validation,Test}_GroundTruth/ISIC_NNNNNNN_segmentation.png",
                labels=MappingProxyType({1: "lesion"}),
                targets=MappingProxyType({"lesion": _merged("lesion", 1)}),
                coding=WHITE_ON_BLACK,
                split_by="folders",
                parts=(2594, 100, 1000),
            ),
            # A case is a slice, and has a mask of each reader who read the series (datasets/lidc.py).
            Source(
                name="lidc",
                title="LIDC-IDRI",
                modality="ct",
                page="https://www.cancerimagingarchive.net/collection/lidc-idri/",
                licence="CC BY 3.0",
                layout="folders with one CT series each (*.dcm), at any depth, and for each series the XML file of its "
                "readers, beside the slices or anywhere else below",
                labels=MappingProxyType({1: "nodule"}),
                targets=MappingProxyType({"nodule": _merged("nodule", 1)}),
                windows=MappingProxyType({"lung": (-1000.0, 400.0)}),
                split_by="drawn",
                annotators=4,
                phantom=PhantomSize(groups=24, val=0.15, test=0.25, frames=6),
            ),
            # Not the twelve volumes of `sts`. Layout and values as others report them, not yet seen in the archive; its
            # ten other labelled volumes (Integrity) are said to be normalised to 0…1, which are no Hounsfield units.
            Source(
                name="sts-zenodo",
                title="STS-3D-Tooth (Zenodo, labelled regions)",
                modality="ct",
                page="https://zenodo.org/records/10597292",
                licence="CC BY 4.0",
                layout="SD-Tooth/STS-3D-Tooth/ROI/Labeled/Image/ROI_L_NNN.nii.gz and …/Mask/ROI_L_NNN.nii.gz "
                "(as others report it)",
                labels=MappingProxyType({1: "tooth"}),
                targets=MappingProxyType({"tooth": _merged("tooth", 1)}),
                windows=MappingProxyType({"corrected": (-1000.0, 3095.0)}),
                split_by="drawn",
            ),
        )
    }
)
