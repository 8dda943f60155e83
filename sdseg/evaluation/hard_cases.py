"""Which cases are hard: Dice in groups by size, contrast and position of a structure, from its label and the image.

What a case is like is measured at the working size, of its label; its Dice is the headline one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import nan
from pathlib import Path

import numpy as np

from sdseg.artifacts.results.evaluation import ShareSummary
from sdseg.artifacts.results.hard_cases import CaseGroup, GroupedBy, HardCases
from sdseg.artifacts.results.record import FORMAT
from sdseg.core.array_types import FloatArray, MaskArray
from sdseg.core.files import csv_text, write_json, write_text
from sdseg.data.fit import fit_of
from sdseg.data.shown_channel import shown_of
from sdseg.data.store import SliceStore, structure_masks
from sdseg.evaluation.evaluator import ScoredCase
from sdseg.metrics.intervals import interval
from sdseg.metrics.overlap import summarise

__all__ = ["FILES", "CaseTraits", "grouped", "traits_of", "write_hard_cases"]

FILES = ("hard_cases.csv", "hard_cases.json")
EMPTY = "empty"
SIZES, CONTRASTS = ("small", "medium", "large"), ("low", "medium", "high")
BORDER, CENTRE, ASIDE = "touches the border", "central", "off centre"
FEWEST = 6  # labelled cases that are shared among thirds
AROUND = 16  # the rim around a structure is this part of the image wide
CENTRAL = 0.5  # of the way from the centre to the border, along rows or columns


@dataclass(frozen=True)
class CaseTraits:
    """One structure in one case."""

    case: str
    structure: str
    dice: float
    size: float  # ml where the spacing is known, else the share of the image or volume; 0: nothing is labelled
    contrast: float  # |mean inside − mean in the rim around it|, as a share of the window; NaN where either is empty
    position: str


def write_hard_cases(folder: Path, scores: Sequence[ScoredCase], store: SliceStore) -> HardCases:
    """Write hard_cases.csv, a line per case and structure, and hard_cases.json, a line per group."""
    traits = [each for score in scores for each in traits_of(score, store)]
    unit = "ml" if all(score.case.spacing for score in scores) else "share"
    record, group_of = grouped(traits, unit)
    of_size, of_contrast = ("size", "size_unit", "size_group"), ("contrast", "contrast_group")
    lines = (
        [
            *(each.case, each.structure, f"{each.dice:.6f}", f"{each.size:.6g}", unit, group_of["size"][index]),
            *("n/a" if np.isnan(each.contrast) else f"{each.contrast:.6f}", group_of["contrast"][index]),
            each.position,
        ]
        for index, each in enumerate(traits)
    )
    header = ["case", "structure", "dice", *of_size, *of_contrast, "position"]
    write_text(folder / FILES[0], csv_text(header, lines))
    write_json(folder / FILES[1], record.content())
    return record


def traits_of(score: ScoredCase, store: SliceStore) -> list[CaseTraits]:
    """Every structure of a case."""
    case, manifest = score.case, store.manifest
    masks = structure_masks(store.masks[case.rows], manifest.structures)  # [Z,K,S,S]
    low, high = manifest.image.window
    images = shown_of(store.slices[case.rows], manifest.image).astype(np.float32).mean(axis=-1)  # [Z,S,S]
    shown = np.clip((images - low) / (high - low), 0.0, 1.0)
    pixel = math.prod(fit_of(manifest.image, (case.height, case.width), case.spacing).pixel)  # native in a working one
    unit = float(np.prod(case.spacing)) * pixel / 1000.0 if case.spacing else 1.0 / masks[:, 0].size
    traits = []
    for number, structure in enumerate(manifest.structures):
        mask = masks[:, number]
        traits.append(
            CaseTraits(
                case=case.case,
                structure=structure.name,
                dice=score.headline.structures[structure.name]["dice"].value,
                size=float(np.count_nonzero(mask)) * unit,
                contrast=_contrast(mask, shown),
                position=_position(mask),
            )
        )
    return traits


def grouped(traits: Sequence[CaseTraits], unit: str) -> tuple[HardCases, dict[GroupedBy, list[str]]]:
    """Dice per group, and the group of each of `traits` by size and by contrast.

    Of size and contrast the labelled cases of a structure make three groups of equal number (equal values together);
    fewer than six are not grouped.
    """
    groups, ungrouped, dice = list[CaseGroup](), dict[str, str](), dict[str, float]()
    group_of: dict[GroupedBy, list[str]] = {"size": ["n/a"] * len(traits), "contrast": ["n/a"] * len(traits)}
    for structure in dict.fromkeys(each.structure for each in traits):
        own = [index for index, each in enumerate(traits) if each.structure == structure]
        labelled = [index for index in own if traits[index].size > 0]
        dice[structure] = float(np.mean([traits[index].dice for index in own]))
        kinds: tuple[tuple[GroupedBy, tuple[str, ...], Callable[[CaseTraits], float]], ...] = (
            ("size", SIZES, lambda each: each.size),
            ("contrast", CONTRASTS, lambda each: each.contrast),
        )
        for by, names, value in kinds:
            for index in own:
                group_of[by][index] = EMPTY if traits[index].size == 0 else "n/a"
            measured = [index for index in labelled if not np.isnan(value(traits[index]))]
            if len(measured) < FEWEST:
                cases = "case" if len(labelled) == 1 else "cases"
                ungrouped[structure] = f"{len(labelled)} labelled {cases}, and {FEWEST} or more make three groups"
                measured = []
            elif measured:
                edges = np.quantile([value(traits[index]) for index in measured], [1 / 3, 2 / 3])
                for index in measured:
                    group_of[by][index] = names[int(np.searchsorted(edges, value(traits[index])))]
            for name in (*((EMPTY,) if by == "size" else ()), *(names if measured else ())):
                chosen = [traits[index] for index in own if group_of[by][index] == name]
                groups.append(_group(structure, by, name, chosen, [value(each) for each in chosen]))
        for name in (BORDER, CENTRE, ASIDE):
            chosen = [traits[index] for index in own if traits[index].position == name]
            groups.append(_group(structure, "position", name, chosen))
    record = HardCases(format=FORMAT, size_unit=unit, groups=tuple(groups), ungrouped=ungrouped, dice=dice)
    return record, group_of


def _group(
    structure: str, by: GroupedBy, name: str, chosen: Sequence[CaseTraits], values: Sequence[float] = ()
) -> CaseGroup:
    scores = np.array([each.dice for each in chosen])
    summary = None
    if len(scores):
        between = interval(scores)
        ends = (between.low, between.high) if between else None
        summary = ShareSummary(**asdict(summarise(scores)), ci95=ends, n=len(scores))
    return CaseGroup(
        structure=structure,
        by=by,
        group=name,
        low=min(values) if values else None,
        high=max(values) if values else None,
        n=len(chosen),
        dice=summary,
        worst=min(chosen, key=lambda each: each.dice).case if chosen else None,
    )


def _contrast(mask: MaskArray, shown: FloatArray) -> float:
    """Between a structure and the rim around it in its own slices; `shown`: 0 to 1 over the window."""
    from scipy import ndimage

    width = max(1, mask.shape[1] // AROUND)
    rim = np.zeros_like(mask)
    for own, around in zip(mask, rim, strict=True):
        if own.any() and not own.all():
            box = tuple(  # nothing farther away is in the rim
                slice(max(0, int(taken[0]) - width), int(taken[-1]) + width + 1)
                for taken in (np.flatnonzero(own.any(axis=axis)) for axis in (1, 0))
            )
            around[box] = ~own[box] & (ndimage.distance_transform_edt(~own[box]) <= width)
    if not mask.any() or not rim.any():
        return nan
    return float(abs(shown[mask].mean() - shown[rim].mean()))


def _position(mask: MaskArray) -> str:
    """Of a structure within its slices; of a volume the first and the last slice are no border: scans are cut there."""
    flat = np.asarray(mask.any(axis=0))  # [S,S]
    if not flat.any():
        return EMPTY
    if flat[0].any() or flat[-1].any() or flat[:, 0].any() or flat[:, -1].any():
        return BORDER
    rows, columns = np.nonzero(mask)[1:]
    half = (np.array(mask.shape[1:]) - 1) / 2
    away = np.abs(np.array([rows.mean(), columns.mean()]) - half) / half
    return CENTRE if away.max() <= CENTRAL else ASIDE
