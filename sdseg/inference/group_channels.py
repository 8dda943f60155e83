"""Files that are channels of one case, told by their names and folders (tell_channel.py), or by the user."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sdseg.core.errors import UserError
from sdseg.inference.tell_channel import NUMBER, assigned_by_name, assigned_by_user, channel_number

if TYPE_CHECKING:
    from sdseg.inference.find_inputs import InputFile

__all__ = ["Channels", "by_channel", "grouped_by_name", "grouped_by_user"]


@dataclass(frozen=True)
class Channels:
    """The channels that a model sees, in its order, and where the user says that files of each lie."""

    names: tuple[str, ...] = ()  # none: a model of one file per case
    given: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    def check(self) -> None:
        """Raise UserError where the user names channels that the model does not have, not all, or one file for two."""
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
        seen: dict[str, str] = {}
        for name, path in ((name, path) for name, paths in self.given.items() for path in paths):
            earlier = seen.setdefault(os.path.realpath(path), name)
            if earlier.lower() != name.lower():
                raise _twice(path, (earlier, name))

    def number(self, name: str) -> int | None:
        """Of a channel by its name, whatever its case; None where there is none."""
        return channel_number(name, self.names)


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
    by_number: bool = False  # nothing but nnU-Net's numbers tells their channels
    files: dict[int, InputFile] = field(default_factory=dict)
    doubt: str = ""  # why one of them may be another channel's
    ambiguous: bool = False  # two files of one channel, which was told


def grouped_by_name(files: Sequence[InputFile], channels: Channels, problems: list[UserError]) -> list[InputFile]:
    """The cases among some files, in the order of their first ones; what is amiss is added to `problems`.

    A file's channel is told by its name at the end of the file's (CASE_T2), as the whole name of the file (CASE/T2), as
    that of a folder (T2/CASE), or where none of these does by nnU-Net's number (CASE_0001).
    """
    cases: dict[Path, _Case] = {}
    for one in assigned_by_name(files, channels.names, problems):
        case = cases.setdefault(one.case, _Case(one.name, one.by_number))
        case.by_number &= one.by_number
        if one.number is not None and one.number != one.channel and one.number < len(channels.names):
            own, other = channels.names[one.channel], channels.names[one.number]
            case.doubt = f"its folder says {own} and its number _{one.number:04d} {other}; "
        _add(case, one.channel, one.file, channels, problems)
    _add_siblings(cases.values(), channels)
    return _complete(cases.values(), channels, problems)


def grouped_by_user(
    files: Mapping[str, Sequence[InputFile]], channels: Channels, problems: list[UserError]
) -> list[InputFile]:
    """The cases among files that the user named by channel: those of one name, or the only one named of each channel.

    Raises UserError where one file is named for two channels.
    """
    numbered = [(channels.number(name) or 0, file) for name, own in files.items() for file in own]
    seen: dict[tuple[str, str], int] = {}
    for number, file in numbered:
        earlier = seen.setdefault((os.path.realpath(file.path), file.uid), number)
        if earlier != number:
            raise _twice(file.path, (channels.names[earlier], channels.names[number]))
    assigned = assigned_by_user(numbered, channels.names)
    usable = {name: [file for file in own if not file.refused] or own for name, own in files.items()}
    paired = all(
        len(own) == 1 and all(_is_one(path, own[0]) for path in channels.given.get(name, ()))
        for name, own in usable.items()
    )
    cases: dict[Path, _Case] = {}
    for one in assigned:
        case = cases.setdefault(Path() if paired else one.case, _Case(one.name))
        _add(case, one.channel, one.file, channels, problems)
    if problems and not all(files.values()):
        return []  # a folder or pattern without any file of a channel was told, and no case is whole
    return _complete(cases.values(), channels, problems)


def _is_one(path: Path, file: InputFile) -> bool:
    """Whether what was named is a file or the folder of a series, not a folder of some or a pattern."""
    return (os.path.lexists(path) and not path.is_dir()) or (
        (file.kind == "series" or file.refused) and os.path.realpath(path) == os.path.realpath(file.path)
    )


def _twice(path: Path, names: tuple[str, str]) -> UserError:
    return UserError(
        f"{path} is named for two channels, {names[0]} and {names[1]}",
        where="--channel",
        remedy="give each channel files of its own",
    )


def _add(case: _Case, number: int, file: InputFile, channels: Channels, problems: list[UserError]) -> None:
    if number >= len(channels.names) and not file.refused:
        problems.append(
            UserError(
                f"channel {number}, counted from 0, of a model that sees {', '.join(channels.names)}",
                where=file.path,
                remedy="leave it out, or choose a model of these channels",
            )
        )
    elif number in case.files and (file.refused or case.files[number].refused):
        case.files[number] = case.files[number] if file.refused else file
    elif number in case.files:
        case.ambiguous = True
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
        if named is None or match is None or named.kind == "series" or not case.by_number:
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
        if not case.files or case.ambiguous or any(file.refused for file in case.files.values()):
            continue  # what is wrong was told
        first = case.files[min(case.files)]
        if missing or len(kinds) > 1:
            what = (
                f"{case.doubt}its file of {', '.join(missing)} is missing"
                if missing
                else "images and volumes in one case"
            )
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
