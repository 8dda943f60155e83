"""What looks odd in files that can be read: empty and inverted masks, odd grids, values of another scale."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

from sdseg.artifacts.image_contract import Structure
from sdseg.data.read_case import CaseFacts
from sdseg.data.read_dataset import ReadCase
from sdseg.datasets.sources import Source
from sdseg.io.volume_warnings import unlikely_spacing

__all__ = ["areas_of", "implausible"]

MOSTLY = 0.8  # a structure of this share of an image is background more often than not
NARROW = 0.05  # values that use this share of the window leave a flat picture
APART, CT_APART = 2.5, 6.0  # largest against smallest spread of values that one window serves; a CT may be cropped
PER_VOLUME = "'normalisation: {method: percentiles}' in the place of 'windows' takes each volume by its own scale"
OTHER_SCALE = 8.0  # so many times wider or narrower than most: stored in other units


def areas_of(facts: CaseFacts, structures: Sequence[Structure]) -> dict[str, float]:
    """The share of the image that each structure takes, at its native size; of those that are there."""
    shares = dict(facts.areas)
    covered = {one.name: sum(shares.get(value, 0.0) for value in one.values) for one in structures}
    return {name: share for name, share in covered.items() if share > 0}


def implausible(
    source: Source,
    window: tuple[float, float],
    structures: Sequence[Structure],
    read_cases: Sequence[ReadCase],
    *,
    units: bool = True,
) -> Iterator[str]:
    """One warning for each kind of oddity, with the cases it was seen in; without `units` none of Hounsfield units."""
    yield from _masks(source, structures, read_cases)
    if source.modality != "rgb":
        yield from _grids(read_cases)
    if source.modality != "rgb" and source.normalisation is None and not source.normalisations:
        for name, cases in _by_channel(source, read_cases):
            if units and source.modality == "ct":
                yield from (f"{name}{warning}" for warning in _units(window, cases))
            yield from (f"{name}{warning}" for warning in _scales(source, window, cases))
    yield from _notes_of_files(read_cases)


def _by_channel(source: Source, read_cases: Sequence[ReadCase]) -> Iterator[tuple[str, Sequence[ReadCase]]]:
    """Of several channels each by itself, with words that name it; else all cases as they are."""
    if not source.channels:
        yield "", read_cases
    for number, name in enumerate(source.channels):
        facts = [replace(each.facts, spread=each.facts.channels[number]) for each in read_cases]
        yield f"channel {name}: ", [ReadCase(each.case, own) for each, own in zip(read_cases, facts, strict=True)]


def _masks(source: Source, structures: Sequence[Structure], read_cases: Sequence[ReadCase]) -> Iterator[str]:
    empty = [each.case.case for each in read_cases if not each.facts.labels]
    vanished = [f"{each.case.case} ({', '.join(map(str, each.facts.lost))})" for each in read_cases if each.facts.lost]
    if empty:
        yield f"{len(empty)} case(s) have an empty mask: {_some(empty)}"
    if vanished:
        yield f"{len(vanished)} case(s) lose a label at the working size, it is too small: {_some(vanished)}"
    for one in structures:
        full = [each.case.case for each in read_cases if areas_of(each.facts, (one,)).get(one.name, 0.0) >= MOSTLY]
        if full:
            remedy = "; where it is, turn 'mask_values' round, as {0: 1, 255: 0}" if source.name == "own" else ""
            yield (
                f"'{one.name}' covers {MOSTLY:.0%} or more of the image in {len(full)} case(s), as if the mask was "
                f"inverted{remedy}: {_some(full)}"
            )


def _grids(read_cases: Sequence[ReadCase]) -> Iterator[str]:
    odd = [
        f"{each.case.case} ({' × '.join(f'{length:g}' for length in each.case.spacing)})"
        for each in read_cases
        if unlikely_spacing(each.case.spacing)
    ]
    if odd:
        yield f"{len(odd)} volume(s) have an unlikely spacing in mm: {_some(odd)}"


def _units(window: tuple[float, float], read_cases: Sequence[ReadCase]) -> Iterator[str]:
    """Hounsfield units that are none."""
    if window[0] < 0:  # where the window begins at 0 or above, such values are as expected
        positive = [each for each in read_cases if each.facts.spread.low >= 0]
        unsigned = [each.case.case for each in positive if each.facts.spread.high > 255]
        eight = [each.case.case for each in positive if each.facts.spread.high <= 255 and not each.facts.notes]
        if unsigned:
            yield (
                f"{len(unsigned)} volume(s) hold no value below 0; Hounsfield units of air are -1000: {_some(unsigned)}"
            )
        if eight:
            yield (
                f"{len(eight)} volume(s) hold values from 0 to 255 alone: grey levels, it seems, and no Hounsfield "
                f"units: {_some(eight)}"
            )


def _scales(source: Source, window: tuple[float, float], read_cases: Sequence[ReadCase]) -> Iterator[str]:
    """Values the window has no use for, and volumes unlike the others."""
    low, high = window
    flat = [
        each.case.case
        for each in read_cases
        if min(each.facts.spread.p99, high) - max(each.facts.spread.p1, low) < NARROW * (high - low)
    ]
    if flat:
        yield (
            f"in {len(flat)} volume(s) nearly all values lie outside the window from {low:g} to {high:g}, or within "
            f"{NARROW:.0%} of it: {_some(flat)}"
        )
    widths = {each.case.case: each.facts.spread.width for each in read_cases}
    usual = median(widths.values()) if widths else 0.0
    other = [
        name
        for name, width in widths.items()
        if name not in flat and (width > OTHER_SCALE * usual or width * OTHER_SCALE < usual)
    ]
    if other:
        remedy = f"; where scanners have no units, {PER_VOLUME}" if source.name == "own" else ""
        yield f"{len(other)} volume(s) hold values of another scale than most: {_some(other)}{remedy}"
    elif source.name == "own":
        yield from _window_of_all({name: width for name, width in widths.items() if width > 0}, source.modality)


def _window_of_all(widths: Mapping[str, float], modality: str) -> Iterator[str]:
    """Scales that differ from case to case, though none stands alone: another scanner or protocol each."""
    narrow, wide = (end(widths, key=widths.__getitem__, default="") for end in (min, max))
    if not widths or widths[wide] < (CT_APART if modality == "ct" else APART) * widths[narrow]:
        return
    yield (
        f"intensities differ {widths[wide] / widths[narrow]:.1f}-fold between cases: most values of '{narrow}' lie "
        f"within {widths[narrow]:.4g}, those of '{wide}' within {widths[wide]:.4g}, and one window cannot serve both; "
        f"{PER_VOLUME}"
    )


def _notes_of_files(read_cases: Sequence[ReadCase]) -> Iterator[str]:
    """What the readers found odd about files; what many share is said once."""
    cases: dict[str, list[str]] = defaultdict(list)
    for each in read_cases:
        for note in each.facts.notes:
            cases[note].append(each.case.case)
    for note, names in cases.items():
        yield f"{len(names)} case(s): {note}: {_some(names)}"


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
