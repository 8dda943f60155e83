"""LIDC-IDRI as its archive ships it: every slice in which a reader outlined a nodule is a case, the patient its group.

Series and XML files may lie anywhere below the raw folder: they are matched by the series' UID, outlines and slices by
the slice's UID (by its place where an outline has none).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from sdseg.core.errors import UserError
from sdseg.datasets.layouts import RawCase, UnpairedError, annotated_case
from sdseg.datasets.lidc_xml import READERS, Markup, is_ct_markup, read_markup
from sdseg.datasets.sources import Source
from sdseg.io.dicom_header import Slice, read_header

__all__ = ["lidc_cases"]


def lidc_cases(source: Source, raw: Path) -> tuple[RawCase, ...]:
    """A case for every slice in which a reader outlined a nodule of 3 mm or more, by patient and from the feet up.

    A reader who read the series and saw nothing there annotates the slice with an empty mask. Raises UnpairedError with
    every series without XML, XML without series or of a slice that is not there, and damaged file.
    """
    problems: list[str] = []
    markups, unread = _markups(raw, problems)
    series = _series(raw, problems)
    lonely = sorted(one.path for uid, one in markups.items() if uid not in series)
    problems += [f"{_short(path, raw)}: the series it is about is not there" for path in lonely]
    scans: dict[str, list[str]] = defaultdict(list)  # patient -> UIDs of his CTs
    for uid, first in sorted(series.items()):
        if uid in markups:
            scans[first.patient or first.path.parent.name].append(uid)
        elif first.modality == "CT" and first.path.parent not in unread:
            problems.append(f"{_short(first.path.parent, raw)}: a CT without an XML file about it")
    cases: list[RawCase] = []
    for patient, uids in sorted(scans.items()):
        for number, uid in enumerate(uids, start=1):
            scan = patient if len(uids) == 1 else f"{patient}-{number}"
            cases += _cases(scan, patient, series[uid].path.parent, markups[uid], raw, problems)
    if problems:
        raise UnpairedError(source, tuple(cases), problems, raw)
    if not cases:
        raise UserError(
            f"no outlined nodule in the files of {source.title}", where=raw, remedy=f"lay them there as {source.layout}"
        )
    return tuple(cases)


def _markups(raw: Path, problems: list[str]) -> tuple[dict[str, Markup], set[Path]]:
    """The XML files about CTs, by series; and the folders with some that cannot be read."""
    markups: dict[str, Markup] = {}
    unread: set[Path] = set()
    for path in sorted(raw.rglob("*.xml")):
        try:
            if not is_ct_markup(path):
                continue  # about radiographs, which the collection has, too
            markup = read_markup(path)
        except UserError as error:
            problems.append(f"{_short(path, raw)}: {error.what}")
            unread.add(path.parent)
            continue
        if markup.series in markups:
            twins = f"{_short(markups[markup.series].path, raw)}, {_short(path, raw)}"
            problems.append(f"two XML files about one series: {twins}")
        markups[markup.series] = markup
    return markups, unread


def _series(raw: Path, problems: list[str]) -> dict[str, Slice]:
    """The first slice of each series, which tells where the others lie: a folder holds one series."""
    series: dict[str, Slice] = {}
    for folder in sorted({path.parent for path in raw.rglob("*.dcm")}):
        first = min(folder.glob("*.dcm"))
        try:
            header = read_header(first)
        except UserError as error:
            problems.append(f"{_short(first, raw)}: {error.what}")
            continue
        if header.series in series:
            other = _short(series[header.series].path.parent, raw)
            problems.append(f"one series in two folders: {other}, {_short(folder, raw)}")
        series[header.series] = header
    return series


def _cases(scan: str, patient: str, folder: Path, markup: Markup, raw: Path, problems: list[str]) -> list[RawCase]:
    """The slices of one CT that hold a nodule, numbered from the feet up."""
    slices = []
    for path in sorted(folder.glob("*.dcm")):
        try:
            slices.append(read_header(path))
        except UserError as error:
            problems.append(f"{_short(path, raw)}: {error.what}")
    ordered = sorted(slices, key=lambda one: (_z(one), one.path))
    missing = {
        outline.uid or f"z = {outline.z:g} mm"
        for outline in markup.outlines
        if not any(outline.lies_in(one.uid, _z(one)) for one in ordered)
    }
    problems += [
        f"{_short(markup.path, raw)}: an outline in a slice that is not there ({name})" for name in sorted(missing)
    ]
    doubled = [uid for uid, times in Counter(one.uid for one in ordered).items() if times > 1]
    problems += [f"{_short(folder, raw)}: two files of the slice {uid}" for uid in doubled]
    readers = READERS[: len(markup.readers)]
    return [
        annotated_case(f"{scan}_{number:03d}", one.path, dict.fromkeys(readers, markup.path), patient)
        for number, one in enumerate(ordered, start=1)
        if _shows_nodule(one, markup)
    ]


def _shows_nodule(one: Slice, markup: Markup) -> bool:
    if not any(outline.lies_in(one.uid, _z(one)) for outline in markup.outlines):
        return False  # most slices: no mask is drawn to see it
    return any(markup.mask(index, one.uid, _z(one), one.size).any() for index in range(len(markup.readers)))


def _z(one: Slice) -> float:
    return one.position[2] if len(one.position) == 3 else float("nan")


def _short(path: Path, raw: Path) -> str:
    return path.relative_to(raw).as_posix()
