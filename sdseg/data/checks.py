"""What is said of a dataset once its files were seen: facts, warnings, and problems that forbid its use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sdseg.artifacts.image_contract import Structure
from sdseg.artifacts.results.dataset_check import DatasetCheck, Extent
from sdseg.artifacts.results.record import FORMAT
from sdseg.config.dataset import Dataset
from sdseg.core.provenance import provenance
from sdseg.data.dataset_warnings import areas_of, implausible
from sdseg.data.duplicates import near_pairs
from sdseg.data.modality_checks import contradictions
from sdseg.data.read_dataset import ReadCase
from sdseg.datasets.sources import Source
from sdseg.datasets.split_files import SPLITS, merged_groups

__all__ = ["Examination", "examine", "summary"]


@dataclass(frozen=True)
class Examination:
    """The result of a check."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    facts: dict[str, Any]
    of_files: bool = True  # whether a problem is one of files, and not of the configuration or the split alone
    copies: tuple[tuple[str, ...], ...] = ()  # cases of the same picture that the split tears apart, where that forbids

    def record(self, name: str, settings: Dataset) -> DatasetCheck:
        """The content of check.json."""
        return DatasetCheck.checked(
            format=FORMAT,
            dataset=name,
            source=settings.source,
            origin=settings.origin,
            protocol=settings.protocol,
            passed=not self.problems,
            problems=self.problems,
            warnings=self.warnings,
            **self.facts,
            provenance=provenance(("nibabel", "opencv-python-headless", "imagehash")),
        )


def examine(source: Source, settings: Dataset, read_cases: Sequence[ReadCase], problems: Sequence[str]) -> Examination:
    """Judge what was seen of a dataset; `problems` are those found before.

    The same picture in two splits, or another number of slices than the paper counts, is a problem for real data; it
    is a warning for phantoms and samples, and the first also under the protocol 'paper', which repeats what was
    published.
    """
    _, structures = source.target(settings.target)
    window = source.window(settings.window)
    clean = settings.origin != "phantom" and settings.protocol not in ("paper", "sample")
    duplicates = list(_duplicates(read_cases))
    apart = [pair for pair in duplicates if pair["splits"][0] != pair["splits"][1]]
    leaks = [_leak_in_words(pair) for pair in apart]
    published = list(_published(source, read_cases)) if settings.origin != "phantom" else []
    miscounted = [
        f"{count['what']} have {count['found']} slices, the paper counts {count['expected']}: another release?"
        for count in published
        if count["found"] not in (None, count["expected"])
    ]
    of_files = [*problems, *(miscounted if settings.origin == "real" else [])]
    contradicting = list(contradictions(source, window, read_cases))
    forbidding = [*of_files, *contradicting, *(leaks if clean else [])]
    warnings = [
        *([] if clean else leaks),
        *([] if settings.origin == "real" else miscounted),
        *implausible(source, window, structures, read_cases, units=not contradicting),
    ]
    if read_cases and settings.origin == "real":
        absent = sorted(set(source.labels) - {label for each in read_cases for label in each.facts.labels})
        warnings += [f"label {label} ({source.labels[label]}) occurs in no case" for label in absent]
    facts = _facts(source, structures, read_cases) | {"duplicates": duplicates, "published_slices": published}
    copies = tuple(merged_groups([pair["cases"] for pair in apart])) if clean else ()
    return Examination(tuple(forbidding), tuple(warnings), facts, bool(of_files), copies)


def summary(record: DatasetCheck) -> str:
    """A check.json in words, every problem and warning included."""
    lines = [f"{record.dataset} ({record.source}, {record.origin}), protocol {record.protocol}"]

    def line(title: str, value: object) -> None:
        lines.append(f"  {title:<12} {value}")

    def span(extent: Extent, unit: str) -> str:
        low, high = (" × ".join(f"{length:g}" for length in end) for end in (extent.smallest, extent.largest))
        return f"{low}{'' if low == high else f' to {high}'} {unit}"

    line("cases", ", ".join(f"{number} {split}" for split, number in record.cases.items()))
    if record.orientations:
        line("slices", ", ".join(f"{number} {split}" for split, number in record.slices.items()))
    if record.sizes:
        line("sizes", span(record.sizes, "rows × columns" + (" × slices" if record.orientations else "")))
    if record.spacing:
        line("spacing", span(record.spacing, "mm (left-right, back-front, foot-head)"))
        line("axes", ", ".join(f"{number} {axes}" for axes, number in record.orientations.items()))
    if record.intensities:
        line("intensities", "{:g} to {:g}".format(*record.intensities))
    for label, count in record.labels.items():
        line(f"label {label}", f"{count.name}: in {count.cases} case(s)")
    for name, area in record.areas.items():
        shares = f"{100 * area.smallest:.3g} to {100 * area.largest:.3g} %"
        line("area", f"{name}: {100 * area.median:.3g} % of the image, {shares} ({area.cases} case(s))")
    line("empty masks", len(record.empty_masks))
    line("duplicates", f"{len(record.duplicates)} pairs of the same picture")
    for published in record.published_slices:
        slices = "not all there" if published.found is None else f"{published.found} slices"
        line("published", f"{published.what}: {slices}, {published.expected} in the paper")
    for kind, entries in (("warnings", record.warnings), ("problems", record.problems)):
        lines += [f"  {kind:<12} {len(entries)}", *(f"    - {entry}" for entry in entries)]
    return "\n".join(lines)


def _facts(source: Source, structures: Sequence[Structure], read_cases: Sequence[ReadCase]) -> dict[str, Any]:
    cases = [each.case for each in read_cases]
    volumes = source.modality != "rgb"
    occurring = Counter(label for each in read_cases for label in each.facts.labels)
    return {
        "cases": {split: sum(case.split == split for case in cases) for split in SPLITS},
        "slices": {split: sum(case.slices for case in cases if case.split == split) for split in SPLITS},
        "sizes": _span([(case.height, case.width, *((case.depth,) if volumes else ())) for case in cases]),
        "spacing": _span([case.spacing for case in cases if case.spacing]),
        "orientations": dict(Counter(case.axcodes for case in cases if case.axcodes).most_common()),
        "intensities": [
            min(each.facts.spread.low for each in read_cases),
            max(each.facts.spread.high for each in read_cases),
        ]
        if read_cases
        else None,
        "labels": {str(label): {"name": name, "cases": occurring[label]} for label, name in source.labels.items()},
        "areas": dict(_areas(structures, read_cases)),
        "empty_masks": [each.case.case for each in read_cases if not each.facts.labels],
    }


def _areas(structures: Sequence[Structure], read_cases: Sequence[ReadCase]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of each structure the shares of an image that it takes where it is."""
    per_case = [areas_of(each.facts, structures) for each in read_cases]
    for one in structures:
        shares = [areas[one.name] for areas in per_case if one.name in areas]
        if shares:
            spread = {"smallest": min(shares), "median": median(shares), "largest": max(shares)}
            yield one.name, {"cases": len(shares), **{what: round(share, 6) for what, share in spread.items()}}


def _span(lengths: Sequence[tuple[float, ...]]) -> dict[str, list[float]] | None:
    """Smallest and largest along each axis."""
    if not lengths:
        return None
    axes = list(zip(*lengths, strict=True))
    return {"smallest": [min(axis) for axis in axes], "largest": [max(axis) for axis in axes]}


def _duplicates(read_cases: Sequence[ReadCase]) -> Iterator[dict[str, Any]]:
    for first, second, bits in near_pairs([each.facts.picture_hash for each in read_cases]):
        pair = (read_cases[first].case, read_cases[second].case)
        yield {"cases": [case.case for case in pair], "splits": [case.split for case in pair], "bits": bits}


def _leak_in_words(pair: dict[str, Any]) -> str:
    (first, second), (own, other) = pair["cases"], pair["splits"]
    return (
        f"'{first}' ({own}) and '{second}' ({other}) are the same picture ({pair['bits']:.3g} of 256 bits differ): "
        "both belong into one split"
    )


def _published(source: Source, read_cases: Sequence[ReadCase]) -> Iterator[dict[str, Any]]:
    slices = {each.case.case: each.case.slices for each in read_cases}
    for count in source.published:
        complete = count.ids <= slices.keys()
        n_slices = sum(slices[case] for case in count.ids) if complete else None
        yield {"what": count.what, "expected": count.slices, "found": n_slices}
