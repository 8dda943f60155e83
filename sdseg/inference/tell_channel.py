"""Which channel of which case a file is, told by its name and its folders; nnU-Net's number counts last."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sdseg.core.errors import UserError

if TYPE_CHECKING:
    from sdseg.inference.find_inputs import InputFile

__all__ = ["NUMBER", "Assigned", "assigned_by_name", "assigned_by_user", "channel_number"]

NUMBER = re.compile(r"(.+)_(\d{4})")
SEPARATORS = "_-. "
REMEDY = "name files CASE_0000, CASE_0001, … or CASE_{first}, …; lay them in folders named like the channels; or say "
REMEDY += "--channel NAME=PATH for each"


@dataclass(frozen=True)
class Assigned:
    """A file, its channel, and its case."""

    file: InputFile
    channel: int
    case: Path  # what the files of one case have in common
    name: str  # of the case
    by_number: bool = False  # nothing but nnU-Net's number tells the channel
    number: int | None = None  # at the end of `case`, where something else tells the channel: the case's, or nnU-Net's


def channel_number(name: str, names: Sequence[str]) -> int | None:
    """Of a channel by its name, whatever its case; None where there is none."""
    return next((place for place, own in enumerate(names) if own.lower() == name.lower()), None)


def assigned_by_name(files: Sequence[InputFile], names: Sequence[str], problems: list[UserError]) -> list[Assigned]:
    """The files whose channel is told; each other one is added to `problems`, as are those told of two channels.

    The whole name of a file, its end and the folders in which the files differ come before a number: cases may have
    names that end in four digits.
    """
    places = [_place(file) for file in files]
    shared = len(Path(os.path.commonpath([place.parent for place in places])).parts) if places else 0
    assigned = []
    for file, place in zip(files, places, strict=True):
        try:
            assigned.append(_assigned(file, place, shared, names))
        except UserError as error:
            problems += [] if file.refused else [error]
    return _without_numbers(assigned)


def assigned_by_user(files: Iterable[tuple[int, InputFile]], names: Sequence[str]) -> list[Assigned]:
    """Files with the numbers of their channels; a case is what is left of a name without that of this channel."""
    assigned = []
    for channel, file in files:
        *folders, last = file.name.split("/")
        ending, rest = _ending(last, names)
        name = "/".join((*folders, rest)) if rest and ending == channel else file.name
        match = NUMBER.fullmatch(last) if name == file.name else None
        assigned.append(Assigned(file, channel, Path(name), name, number=int(match[2]) if match is not None else None))
    return _without_numbers(assigned)


def _place(file: InputFile) -> Path:
    """Where a file lies, without suffix; a series is its folder, or where that holds several, one beside the others."""
    return Path(os.path.abspath(file.path)).parent / file.name.split("/")[-1]


def _assigned(file: InputFile, place: Path, shared: int, names: Sequence[str]) -> Assigned:
    """Raise UserError where nothing tells the channel, or two things differ. The first `shared` folders are all files'.

    Those tell the channel of none, unless nothing else does: they are those below what the user named, or it itself.
    """
    parts = place.parts
    begin = len(parts) - len(file.name.split("/"))
    ending, rest = _ending(parts[-1], names)

    def named(first: int, end: int) -> dict[int, int]:
        numbers = ((at, channel_number(parts[at], names)) for at in range(max(first, 0), end))
        return {at: number for at, number in numbers if number is not None}

    folders = named(shared, len(parts) - 1)
    if not folders and ending is None:
        folders = named(begin, len(parts) - 1) or named(begin - 1, begin)
    cues = [(number, f"its folder '{parts[at]}'") for at, number in folders.items()]
    cues += [] if ending is None else [(ending, f"its name '{parts[-1]}'")]
    match = NUMBER.fullmatch(parts[-1])
    if not cues and match is not None:
        name = "/".join((*parts[begin:-1], match[1]))
        return Assigned(file, int(match[2]), place.with_name(match[1]), name, by_number=True)
    if not cues:
        what = f"its name tells no channel, and the model sees {', '.join(names)}"
        raise UserError(what, where=file.path, remedy=REMEDY.format(first=names[0]))
    if len({number for number, _ in cues}) > 1:
        what = " and ".join(f"{where} says {names[number]}" for number, where in cues)
        raise UserError(what, where=file.path, remedy="rename one of them, or say --channel NAME=PATH for each channel")
    kept = [(at, part) for at, part in enumerate(parts[:-1]) if at not in folders]
    kept += [(len(parts) - 1, rest)] if rest else []
    case = Path(*(part for _, part in kept))
    name = "/".join(part for at, part in kept if at >= begin) or case.name or "case"
    own = int(match[2]) if match is not None and ending is None else None
    return Assigned(file, cues[0][0], case, name, number=own)


def _ending(last: str, names: Sequence[str]) -> tuple[int | None, str]:
    """The channel that a name is, or ends with, and what is left of the name."""
    if (whole := channel_number(last, names)) is not None:
        return whole, ""
    for name in sorted(names, key=len, reverse=True):
        if last.lower().endswith(name.lower()) and len(last) > len(name) + 1 and last[-len(name) - 1] in SEPARATORS:
            return channel_number(name, names), last[: -len(name) - 1]
    return None, last


def _without_numbers(assigned: Sequence[Assigned]) -> list[Assigned]:
    """Cases without their number where it is nnU-Net's: that of the channel in all files that would become one case.

    T1/P_0000 and T2/P_0001 are two channels of P, but with T1/P_0001 and T2/P_0000 beside them two patients.
    """
    families = defaultdict[Path, list[Assigned]](list)
    for one in assigned:
        families[_without_number(one).case].append(one)
    nnunet = {
        case
        for case, own in families.items()
        if all(one.number in (None, one.channel) for one in own) and len({one.channel for one in own}) == len(own)
    }
    return [stripped if (stripped := _without_number(one)).case in nnunet else one for one in assigned]


def _without_number(one: Assigned) -> Assigned:
    if one.number is None:
        return one
    return replace(one, case=one.case.with_name(one.case.name[:-5]), name=one.name[:-5], number=None)
