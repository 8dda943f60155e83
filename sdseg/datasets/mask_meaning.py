"""What the values of masks most likely mean, where nobody has said so: labels, and which value stands for which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sdseg.core.errors import UserError

__all__ = ["MaskMeaning", "meaning_of"]

MOST_LABELS = {True: 12, False: 120}  # of images and of volumes; more numbers in a row are objects, one number each
EVEN = 0.6  # of masks more pixels than this have the value of the next one; of pictures fewer
SPREAD = 24  # grey levels on each side of a level that JPEG and resizing blur it over
CLEAR = 0.95  # share of the pixels that lie so near a level of a compressed mask
COVERS = 0.8  # a value of this share of the image is the background, not a structure
REMEDY = (
    "give one value to each structure (0 is background); are these the images? then name the folders with --images "
    "and --masks"
)


@dataclass(frozen=True)
class MaskMeaning:
    """The keys of `own` that say what masks mean, and why these."""

    labels: Mapping[int, str]
    mask_values: Mapping[int | str, int] = field(default_factory=dict)  # empty: values are the labels
    lossy: bool = False
    reason: str = ""

    @property
    def deep(self) -> bool:
        """Whether values are numbers of up to 16 bits, and not shades of grey."""
        return any(isinstance(value, str) or value > 255 for value in self.mask_values)

    def label_of(self, value: int) -> int:
        """The label a value of the files stands for; 0 where it is background."""
        if not self.mask_values:
            return value
        if self.lossy:
            exact = [level for level in {0: 0, **self.mask_values} if isinstance(level, int)]
            value = min(exact, key=lambda level: abs(level - value))
        return self.mask_values.get(value, self.mask_values.get("nonzero", 0) if value else 0)


def meaning_of(shares: Mapping[int, float], even: float, *, images: bool, where: Path) -> MaskMeaning:
    """From the values that occur in masks, with their share of all pixels.

    `even`: the share of the pixels that have the value of the next one. `images`: of 8 or 16 bits, no volumes. Raises
    UserError where there is no structure at all, or so many values that these are no masks.
    """
    values = sorted(value for value in shares if value)
    if not values:
        raise UserError(
            "every mask is empty: 0 is the only value", where=where, remedy="check that these are the masks"
        )
    most, largest = MOST_LABELS[images], max(shares, key=lambda value: shares[value])
    if even < EVEN and len(values) > most:
        raise _too_many(values, where)
    levels = _levels(shares) if images else []
    if levels and len(shares) > 2 * (len(levels) + 1):
        reason = (
            f"masks hold {len(shares)} values, {_share(shares, levels):.1%} of the pixels within {SPREAD} of "
            f"{', '.join(map(str, [0, *levels]))}: compressed or resized"
        )
        return MaskMeaning(_names(len(levels)), _numbered(levels), lossy=True, reason=reason)
    if len(values) <= most:
        if largest and shares[largest] >= COVERS:
            return _inverted(largest, shares)
        return _labels(values, images)
    if values[-1] - values[0] + 1 <= 2 * len(values):
        reason = f"masks hold {len(values)} values in a row, as numbers of objects do: each counts as the one structure"
        return MaskMeaning({1: "structure"}, {"nonzero": 1}, reason=reason)
    raise _too_many(values, where)


def _too_many(values: list[int], where: Path) -> UserError:
    shown = ", ".join(map(str, values[:8]))
    return UserError(
        f"masks with too many values: {len(values)} besides 0 ({shown}, …), neither labels nor numbers of objects",
        where=where,
        remedy=REMEDY,
    )


def _labels(values: list[int], images: bool) -> MaskMeaning:
    reason = f"masks hold {', '.join(map(str, [0, *values]))}"
    if len(values) == 1 and values != [1]:
        return MaskMeaning({1: "structure"}, {values[0]: 1}, reason=reason)
    if values == list(range(1, len(values) + 1)):
        return MaskMeaning(_names(len(values)), reason=reason)
    if images or values[-1] > 255:
        return MaskMeaning(_names(len(values)), _numbered(values), reason=reason)
    return MaskMeaning({value: f"label {value}" for value in values}, reason=reason)


def _numbered(values: list[int]) -> dict[int | str, int]:
    return {value: number for number, value in enumerate(values, start=1)}


def _inverted(background: int, shares: Mapping[int, float]) -> MaskMeaning:
    others = sorted(value for value in shares if value != background)
    if not others:
        return MaskMeaning({1: "structure"}, {background: 1}, reason=f"masks hold {background} alone")
    return MaskMeaning(
        _names(len(others)),
        {background: 0, **_numbered(others)},
        reason=f"{background} covers {shares[background]:.0%} of the masks: it is the background, it seems",
    )


def _names(count: int) -> dict[int, str]:
    return {1: "structure"} if count == 1 else {number: f"label {number}" for number in range(1, count + 1)}


def _levels(shares: Mapping[int, float]) -> list[int]:
    """Up to three grey levels above 0 that nearly all pixels lie close to; none where there are no such."""
    for levels in ([255], [128, 255], [85, 170, 255]):
        if _share(shares, levels) >= CLEAR and all(_near(shares, level) > 0 for level in levels):
            return levels
    return []


def _share(shares: Mapping[int, float], levels: list[int]) -> float:
    return sum(_near(shares, level) for level in (0, *levels))


def _near(shares: Mapping[int, float], level: int) -> float:
    return sum(share for value, share in shares.items() if abs(value - level) <= SPREAD)
