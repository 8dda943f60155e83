"""Files that are channels of one case, told by their names as nnU-Net writes them, by folders, or by the user."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sdseg.core.errors import UserError

if TYPE_CHECKING:
    from sdseg.inference.find_inputs import InputFile

__all__ = ["Channels", "by_channel", "grouped_by_name", "grouped_by_user"]

NUMBER = re.compile(r"(.+)_(\d{4})")
SEPARATORS = "_-. "


@dataclass(frozen=True)
class Channels:
    """The channels that a model sees, in its order, and where the user says that files of each lie."""

    names: tuple[str, ...] = ()  # none: a model of one file per case
    given: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    def check(self) -> None:
        """Raise UserError where the user names channels that the model does not have, or not all of them."""
        if self.given and not self.names:
            raise UserError("the model sees one file per case", where="--channel", remedy="name the files as inputs")
        own = {name.lower(): name for name in self.names}
        unknown = [name for name in self.given if name.lower() not in own]
        missing = [name for name in self.names if name.lower() not in {given.lower() for given in self.given}]
        if self.given and (unknown or missing):
            problem = f"there is no channel '{unknown[0]}'" if unknown else f"no file of {', '.join(missing)}"
            raise UserError(
                f"{problem}; the model sees {', '.join(self.names)}",
                where="--channel",
                remedy="give --channel NAME=PATH for each of them",
            )

    def number(self, name: str) -> int | None:
        """Of a channel by its name, whatever its case; None where there is none."""
        return next((place for place, own in enumerate(self.names) if own.lower() == name.lower()), None)


def by_channel(named: Iterable[tuple[str, Path]]) -> dict[str, tuple[Path, ...]]:
    """The paths of each channel, which may be named several times."""
    paths: dict[str, tuple[Path, ...]] = {}
    for name, path in named:
        paths[name] = (*paths.get(name, ()), path)
    return paths


@dataclass
class _Case:
    """Files of one case by the number of their channel."""

    name: str
    files: dict[int, InputFile] = field(default_factory=dict)


def grouped_by_name(files: Sequence[InputFile], channels: Channels, problems: list[UserError]) -> list[InputFile]:
    """The cases among some files, in the order of their first ones; what is amiss is added to `problems`.

    A file's channel is told by nnU-Net's number (CASE_0001), by its name at the end of the file's (CASE_T2), as the
    whole name of the file (CASE/T2), or as that of a folder (T2/CASE).
    """
    cases: dict[Path, _Case] = {}
    for file in files:
        place = _place(file, channels)
        if place is None:
            problems.append(
                UserError(
                    f"its name tells no channel, and the model sees {', '.join(channels.names)}",
                    where=file.path,
                    remedy=f"name files CASE_0000, CASE_0001, … or CASE_{channels.names[0]}, …; lay them in folders "
                    "named like the channels; or say --channel NAME=PATH for each",
                )
            )
            continue
        key, name, number = place
        case = cases.setdefault(key, _Case(name))
        _add(case, number, file, channels, problems)
    _add_siblings(cases.values(), channels)
    return _complete(cases.values(), channels, problems)


def grouped_by_user(
    files: Mapping[str, Sequence[InputFile]], channels: Channels, problems: list[UserError]
) -> list[InputFile]:
    """The cases among files that the user named by channel: those of one name, or the only one of each channel."""
    if all(len(own) == 1 for own in files.values()):
        case = _Case(_without_channel(next(iter(files.values()))[0].name, channels))
        cases: dict[str, _Case] = {case.name: case}
        for name, own in files.items():
            _add(case, channels.number(name) or 0, own[0], channels, problems)
    else:
        cases = {}
        for name, own in files.items():
            for file in own:
                called = _without_channel(file.name, channels)
                _add(cases.setdefault(called, _Case(called)), channels.number(name) or 0, file, channels, problems)
    return _complete(cases.values(), channels, problems)


def _place(file: InputFile, channels: Channels) -> tuple[Path, str, int] | None:
    """What files of one case have in common, the name of the case, and the number of the channel; None: not told."""
    *folders, last = file.name.split("/")
    below = file.path if file.kind == "series" else file.path.parent
    if (match := NUMBER.fullmatch(last)) is not None:
        return below / match[1], "/".join((*folders, match[1])), int(match[2])
    whole = channels.number(last)
    if whole is not None and file.kind != "series":
        return below, "/".join(folders) or below.resolve().name, whole
    for name in sorted(channels.names, key=len, reverse=True):
        if last.lower().endswith(name.lower()) and len(last) > len(name) + 1 and last[-len(name) - 1] in SEPARATORS:
            case = last[: -len(name) - 1]
            return below / case, "/".join((*folders, case)), channels.number(name) or 0
    parts = file.name.split("/")
    for depth, folder in enumerate(parts):
        number = channels.number(folder)
        if number is not None:
            rest = [*parts[:depth], *parts[depth + 1 :]]
            root = file.path
            for _ in range(len(parts)):
                root = root.parent
            return root / "/".join(rest), "/".join(rest) or root.resolve().name, number
    return None


def _without_channel(name: str, channels: Channels) -> str:
    """The name of a file without what tells its channel."""
    *folders, last = name.split("/")
    if (match := NUMBER.fullmatch(last)) is not None:
        return "/".join((*folders, match[1]))
    for channel in sorted(channels.names, key=len, reverse=True):
        if last.lower().endswith(channel.lower()) and last[-len(channel) - 1 : -len(channel)] in tuple(SEPARATORS):
            return "/".join((*folders, last[: -len(channel) - 1]))
    return name


def _add(case: _Case, number: int, file: InputFile, channels: Channels, problems: list[UserError]) -> None:
    if number >= len(channels.names):
        problems.append(
            UserError(
                f"channel {number}, counted from 0, of a model that sees {', '.join(channels.names)}",
                where=file.path,
                remedy="leave it out, or choose a model of these channels",
            )
        )
    elif number in case.files:
        problems.append(
            UserError(
                f"a second file of the channel {channels.names[number]} of '{case.name}', beside "
                f"{case.files[number].path}",
                where=file.path,
                remedy="keep one of them",
            )
        )
    else:
        case.files[number] = file


def _add_siblings(cases: Iterable[_Case], channels: Channels) -> None:
    """Channels that lie beside the one that was named, by nnU-Net's numbers."""
    for case in cases:
        named = next(iter(case.files.values()), None)
        match = NUMBER.fullmatch(named.name.split("/")[-1]) if named is not None else None
        if named is None or match is None or named.kind == "series":
            continue
        stem = f"{match[1]}_{match[2]}"
        for number in range(len(channels.names)):
            path = named.path.with_name(f"{match[1]}_{number:04d}{named.path.name[len(stem) :]}")
            if number not in case.files and path.is_file():
                case.files[number] = replace(named, path=path, notes=())


def _complete(cases: Iterable[_Case], channels: Channels, problems: list[UserError]) -> list[InputFile]:
    """Each whole case as one input, the file of its first channel standing for it."""
    whole = []
    for case in cases:
        missing = [name for number, name in enumerate(channels.names) if number not in case.files]
        kinds = {file.kind == "image" for file in case.files.values()}
        if not case.files:
            continue
        first = case.files[min(case.files)]
        if missing or len(kinds) > 1:
            what = f"its file of {', '.join(missing)} is missing" if missing else "images and volumes in one case"
            problems.append(
                UserError(
                    f"{what}; the model sees {', '.join(channels.names)}",
                    where=first.path,
                    remedy="add it beside the others, named likewise" if missing else "give files of one kind",
                )
            )
            continue
        parts = tuple(case.files[number] for number in range(len(channels.names)))
        notes = tuple(note for part in parts for note in part.notes)
        whole.append(replace(parts[0], name=case.name, channels=parts, notes=notes))
    return whole
