"""What `sdseg configure` finds out about a folder of data: layout, modality, what the masks mean, all in values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from sdseg.cli.volume_values import check_values, intensities, modality_by_names, modality_by_values
from sdseg.config.dataset import Dataset, Own
from sdseg.core.errors import UserError
from sdseg.data.survey import Survey, look_at
from sdseg.datasets.find_layout import FolderLayout, find_layout, sources_lying_so
from sdseg.datasets.layouts import RawCase, annotators_of
from sdseg.datasets.mask_meaning import MaskMeaning, meaning_of
from sdseg.datasets.nnunet import read_description
from sdseg.datasets.raw_cases import open_raw
from sdseg.datasets.sources import Source
from sdseg.io.dicom_header import read_header
from sdseg.io.dicom_series import DICOM_NAMES

__all__ = ["OwnData", "read_own_data"]

FIRST_PART = re.compile(r"^(.+?)[_.-][^_.-]*$")


@dataclass(frozen=True)
class OwnData:
    """A folder of data, and what a configuration says of it."""

    folder: Path
    layout: FolderLayout | None  # None: it lies as its owner, a known source, ships it
    source: Source
    modality: str
    modality_reason: str
    survey: Survey
    meaning: MaskMeaning | None  # None: nnU-Net's dataset.json or the source says what masks mean
    normalisation: dict[str, Any] | None  # where it differs from the modality's default
    normalisation_reason: str
    window: tuple[float, float] | None
    group_hint: tuple[str, int] | None  # a pattern of the ids that may be the patient, and how many it would give
    has_splits: bool = False  # the files say who trains and who tests
    annotators: tuple[str, ...] = ()  # who drew, where several did
    partly_drawn: int = 0  # cases of which not all of them drew a mask

    @property
    def volumes(self) -> bool:
        return self.modality != "rgb"

    @property
    def n_channels(self) -> int:
        return len(self.source.channels) or (1 if self.volumes else 3)

    @property
    def structures(self) -> dict[str, tuple[int, ...]]:
        """Names of what there is to find, with the ids of its labels."""
        if self.meaning is not None:
            return {name: (label,) for label, name in self.meaning.labels.items()}
        return {one.name: one.values for one in self.source.target(None)[1]}

    def areas(self) -> dict[str, float]:
        """The share that each structure takes of the slices that have it, its median; of those that were seen."""
        shares: dict[int, list[float]] = {}
        for view in self.survey.views:
            of_case: dict[int, float] = {}
            for value, share in view.shares.items():
                label = self._label(value)
                of_case[label] = of_case.get(label, 0.0) + share
            for label, share in of_case.items():
                shares.setdefault(label, []).append(share)
        return {
            name: sum(median(shares[label]) for label in ids if label in shares)
            for name, ids in self.structures.items()
            if any(label in shares for label in ids)
        }

    def breadths(self) -> dict[str, float]:
        """About how many pixels of the files the parts of each structure are across, its median; of images alone.

        Three times the area over the sides of pixels around it: 1.2 times the breadth of a line, 0.6 times a disc's.
        """
        return {name: median(each) for name, ids in self.structures.items() if (each := self._across({*ids}))}

    def _across(self, ids: set[int]) -> list[float]:
        """The breadth of a structure of these labels in each image that has it, and has an outline of it."""
        each = []
        for view in self.survey.views:
            inside = {value for value in view.counts if self._label(value) in ids}
            outline = sum(number for pair, number in view.borders.items() if (pair[0] in inside) != (pair[1] in inside))
            if outline:
                each.append(3 * sum(view.counts[value] for value in inside) / outline)
        return each

    def _label(self, value: int) -> int:
        if self.meaning is not None:
            return self.meaning.label_of(value)
        coding = self.source.coding
        return value if coding is None or self.layout is not None else _decoded(coding, value)


def read_own_data(
    folder: Path,
    *,
    modality: str | None,
    images: str | None,
    masks: str | None,
    annotators: bool = False,
    jobs: int,
) -> OwnData:
    """Look at the data in `folder`. `modality`, `images`, `masks`, `annotators`: what the user says of it.

    Raises UserError or ListedError, one message for whatever forbids its use.
    """
    try:
        layout = find_layout(folder, images, masks, annotators=annotators)
    except UserError:
        known = _known(folder) if images is None and masks is None else None
        if known is None:
            raise
        return _of_source(folder, *known, modality, jobs)
    _check_kind(layout, modality, folder)
    described = layout.layout == "nnunet"
    given, reason = (modality, "as you said") if modality is not None else _modality_by_names(layout, folder)
    cases = _cases(layout, given or ("rgb" if layout.kind == "images" else "other"), folder)[1]
    if given is None:
        given, reason = _modality_by_header(cases)
    survey = look_at(_each_of_another(cases), given or "other", jobs=jobs, where=folder)
    if given is None:
        given, reason = modality_by_values(survey)
    source = _cases(layout, given, folder)[0]
    if modality != "other" and (modality is not None or described):
        check_values(survey, source.channels, given, folder)
    meaning = None if described else meaning_of(survey.values, survey.even, images=given == "rgb", where=folder)
    window, how, why = intensities(survey, source.channels, given, folder)
    return OwnData(
        folder=folder,
        layout=layout,
        source=source,
        modality=given,
        modality_reason=reason,
        survey=survey,
        meaning=meaning,
        normalisation=how,
        normalisation_reason=why,
        window=window,
        group_hint=None if any(case.group for case in cases) else _group_hint([case.id for case in cases]),
        has_splits=any(case.split for case in cases),
        annotators=(everyone := annotators_of(cases)),
        partly_drawn=sum(len(case.annotations) < len(everyone) for case in cases),
    )


def _each_of_another(cases: Sequence[RawCase]) -> tuple[RawCase, ...]:
    """The cases with the mask of one annotator after the other, so that those of all are looked at."""
    return tuple(
        replace(case, label=case.annotations[number % len(case.annotations)][1]) if case.annotations else case
        for number, case in enumerate(cases)
    )


def _known(folder: Path) -> tuple[Source, tuple[RawCase, ...]] | None:
    """The known dataset whose files these are; None where they are of none."""
    for name in sources_lying_so(folder):
        try:
            return open_raw(Dataset(source=name), folder)
        except UserError:
            continue
    return None


def _of_source(folder: Path, source: Source, cases: tuple[RawCase, ...], modality: str | None, jobs: int) -> OwnData:
    if modality not in (None, source.modality):
        raise UserError(
            f"'--modality {modality}' contradicts the files: they lie as {source.title} ships them",
            where=folder,
            remedy=f"leave it out, or say --modality {source.modality}",
        )
    survey = look_at(cases, source.modality, jobs=jobs, where=folder)
    reason = f"as {source.title} has it"
    return OwnData(
        folder=folder,
        layout=None,
        source=source,
        modality=source.modality,
        modality_reason=reason,
        survey=survey,
        meaning=None,
        normalisation=None,
        normalisation_reason=reason,
        window=None,
        group_hint=None,
        has_splits=True,
    )


def _cases(layout: FolderLayout, modality: str, folder: Path) -> tuple[Source, tuple[RawCase, ...]]:
    """The cases of the folder, whatever their masks mean."""
    values: dict[str, Any] = {"layout": layout.layout, "modality": modality, **layout.places}
    if layout.layout != "nnunet":
        values |= {"labels": {1: "structure"}, "mask_values": {"nonzero": 1}}
    if modality == "ct":
        values["windows"] = {"all": (-1000.0, 1000.0)}
    return open_raw(Dataset(source="own", own=Own(**values), missing_annotators="allow"), folder)


def _check_kind(layout: FolderLayout, modality: str | None, folder: Path) -> None:
    if modality is None or (modality == "rgb") == (layout.kind == "images"):
        return
    known = "rgb" if layout.kind == "images" else ", ".join(DICOM_NAMES)
    raise UserError(
        f"'--modality {modality}' contradicts the files: they are {layout.kind}",
        where=folder,
        remedy=f"leave it out, or say --modality {known.replace(', ', ', or ')}",
    )


def _modality_by_names(layout: FolderLayout, folder: Path) -> tuple[str | None, str]:
    if layout.kind == "images":
        return "rgb", "images"
    if layout.layout != "nnunet":
        return None, ""
    given = modality_by_names(read_description(folder / "dataset.json").channels)
    several = "channels of several kinds" if given == "other" else "its channel so"
    return given, f"dataset.json names {several}"


def _modality_by_header(cases: Sequence[RawCase]) -> tuple[str | None, str]:
    """What the first DICOM file says; None where there is none."""
    series = next((case for case in cases if case.image.is_dir()), None)
    if series is None:
        return None, ""
    named = next((read_header(path).modality for path in series.image_files), "")
    return next(
        ((modality, f"the DICOM files say {named}") for modality, name in DICOM_NAMES.items() if name == named),
        ("other", f"the DICOM files say {named or 'nothing'}"),
    )


def _group_hint(ids: Sequence[str]) -> tuple[str, int] | None:
    """A pattern that takes the first part of the names for the patient, where several cases share it."""
    starts = [match[1] for name in ids if (match := FIRST_PART.match(name))]
    groups = set(starts)
    if len(starts) < len(ids) or not 3 <= len(groups) <= 0.7 * len(ids):
        return None
    return r"^(.+?)[_.-][^_.-]*$", len(groups)


def _decoded(coding: Any, value: int) -> int:
    """The label of a grey level, by the coding of a known source."""
    import numpy as np

    try:
        return int(coding.decode(np.array([[value]], dtype=np.uint8), Path())[0, 0])
    except UserError:
        return 0
