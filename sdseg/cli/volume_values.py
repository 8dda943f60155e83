"""What the values of volumes tell: the modality of each channel, and how each is brought to one scale."""

from __future__ import annotations

import re
from math import ceil, floor
from pathlib import Path
from statistics import median
from typing import Any

from sdseg.config.channels import without_number
from sdseg.core.errors import UserError
from sdseg.data.modality_checks import AIR as AIR_OF_CT
from sdseg.data.survey import ChannelView, Survey

__all__ = ["check_values", "intensities", "modality_by_names", "modality_by_values"]

CHANNELS = {  # what nnU-Net's channel names say
    "ct": re.compile(r"^ct$", re.IGNORECASE),
    "mr": re.compile(r"mri?([^a-z]|$)|^t[12]|flair|^adc$|^dwi$|^pd", re.IGNORECASE),
    "pet": re.compile(r"^pe?t$|^suv", re.IGNORECASE),
    "ultrasound": re.compile(r"^us$|ultraso", re.IGNORECASE),
}
AIR = -500.0  # Hounsfield units that no body has: a CT shows the air around it
CLEARED = 0.25  # share of voxels that are exactly 0 where the background was set to it
STEP = 25.0  # Hounsfield units that both ends of a window are whole multiples of, outwards
PADDING = 0.25  # of the range of labelled voxels, added at both ends of a window
Window = tuple[float, float]
PERCENTILES = {"method": "percentiles"}


def modality_by_names(names: tuple[str, ...]) -> str | None:
    """The modality that all names say, `other` where they are of several kinds; None where none says any."""
    kinds = {_kind(name) for name in names}
    return "other" if len(kinds) > 1 else next(iter(kinds), None)


def modality_by_values(survey: Survey) -> tuple[str, str]:
    """The modality that the values of all channels look like, and why."""
    lowest = [median(view.spread.p1 for view in views) for views in _by_channel(survey)]
    if all(low <= AIR for low in lowest):
        return "ct", f"1 % of the values lie below {max(lowest):.0f}, as air in Hounsfield units"
    if min(lowest) <= AIR:
        return "other", "some channels have values as air in Hounsfield units, others have none"
    return "other", "no Hounsfield units, it seems (say mr, pet or ultrasound where you know: DICOM must then be of it)"


def check_values(survey: Survey, names: tuple[str, ...], modality: str, folder: Path) -> None:
    """Refuse a modality that the values contradict, or a channel that is called CT and has none of its values."""
    for name, views, ct in zip(names or ("",), _by_channel(survey), _are_ct(survey, names, modality), strict=False):
        claim = f"modality '{modality}'" if not name else f"channel '{name}' as a CT" if ct else f"channel '{name}'"
        if ct and all(view.spread.low >= 0 for view in views):
            raise UserError(
                f"{claim} contradicts the files: no value below 0 in {len(views)} volume(s), and Hounsfield "
                "units of air are -1000",
                where=folder,
                remedy=f"say --modality other{'' if name else ' (or mr, pet, ultrasound)'}: each volume is then "
                "normalised by its own values; or export the CT with its Hounsfield units",
            )
        if modality in ("mr", "ultrasound", "pet") and median(view.spread.p1 for view in views) <= AIR_OF_CT:
            raise UserError(
                f"{claim}{f' as modality {modality}' if name else ''} contradicts the files: 1 % of their values lie "
                "at -1000 or below, as air in Hounsfield units",
                where=folder,
                remedy="say --modality ct, or other",
            )


def intensities(
    survey: Survey, names: tuple[str, ...], modality: str, folder: Path
) -> tuple[Window | None, dict[str, Any] | None, str]:
    """Window, normalisation where it is not the default, and why; of several channels each by what it is.

    `names` are empty where there is one channel.
    """
    if modality == "rgb":
        return None, None, "images are taken from 0 to 255"
    channels = list(_by_channel(survey))
    if not names:
        if modality == "ct":
            window, reason = _window(channels[0], folder)
            return window, None, reason
        how, reason = _own_scale(channels[0])
        return None, None if how == PERCENTILES else how, reason
    each, reasons = dict[str, dict[str, Any]](), list[str]()
    for name, views, ct in zip(names, channels, _are_ct(survey, names, modality), strict=True):
        if ct and (modality == "ct" or any(view.spread.low < 0 for view in views)):
            (low, high), reason = _window(views, folder)
            each[name] = {"method": "window", "low": low, "high": high}
        else:
            each[name], reason = _own_scale(views)
        reasons.append(f"{name}: {reason}")
    why, first = "; ".join(reasons), each[names[0]]
    if first["method"] == "window" or any(how != first for how in each.values()):
        return None, each, why
    return None, None if first == PERCENTILES else first, why


def _kind(name: str) -> str | None:
    bare = without_number(name)
    return next((modality for modality, words in CHANNELS.items() if words.search(bare)), None)


def _by_channel(survey: Survey) -> list[tuple[ChannelView, ...]]:
    """The views of each channel, of all volumes."""
    return list(zip(*(view.channels for view in survey.views), strict=True))


def _are_ct(survey: Survey, names: tuple[str, ...], modality: str) -> list[bool]:
    """Which channels have Hounsfield units: by the names, else by the modality and their values."""
    channels = _by_channel(survey)
    kinds = [_kind(name) for name in names]
    if "ct" in kinds:
        return [kind == "ct" for kind in kinds]
    airy = [median(view.spread.p1 for view in views) <= AIR for views in channels]
    if modality == "ct":
        return airy if any(airy) else [True] * len(channels)
    return airy if modality == "other" and len(channels) > 1 else [False] * len(channels)


def _window(views: tuple[ChannelView, ...], folder: Path) -> tuple[Window, str]:
    ends = [view.labelled for view in views if view.labelled is not None]
    if not ends:
        raise UserError(
            "every mask is empty: 0 is the only value", where=folder, remedy="check that these are the masks"
        )
    low, high = (median(end) for end in zip(*ends, strict=True))
    pad = PADDING * (high - low)
    return (STEP * floor((low - pad) / STEP), STEP * ceil((high + pad) / STEP)), (
        f"labelled voxels lie between {low:.0f} and {high:.0f} HU (percentiles 0.5 and 99.5, the median of "
        f"{len(ends)} volumes); a quarter more at both ends, for what lies around them"
    )


def _own_scale(views: tuple[ChannelView, ...]) -> tuple[dict[str, Any], str]:
    widths = [view.spread.width for view in views]
    fold = f"scales differ {max(widths) / min(widths):.1f}-fold between cases; " if min(widths) > 0 else ""
    cleared = median(view.zeros for view in views)
    if cleared < CLEARED:
        return PERCENTILES, f"{fold}each volume by its own percentiles, 0.5 and 99.5"
    return {**PERCENTILES, "nonzero": True}, (
        f"{fold}{cleared:.0%} of the voxels are exactly 0, a background that was taken away: statistics leave it out"
    )
