"""Unpacking archives that strangers made: every member is looked at before the first byte is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from sdseg.core.errors import ListedError, UserError
from sdseg.download.containers import Container, Member, damage_explained, open_container

__all__ = ["ArchiveLimits", "archives_of", "unpack"]

BLOCK = 1 << 20  # bytes
DEPTH, LENGTH = 64, 2048  # folders of a name, and its bytes: systems take 4096, the folder it goes to included


@dataclass(frozen=True)
class ArchiveLimits:
    """What a dataset's archive stays far below, and an archive made to fill the disk does not."""

    members: int = 500_000
    ratio: float = 100.0  # unpacked to packed; masks shrink a hundredfold, images beside them do not
    harmless: int = 1 << 30  # bytes unpacked that are let through whatever the ratio


def archives_of(files: Sequence[Path]) -> list[tuple[Path, ...]]:
    """Group files into archives: pieces name.zip.001, name.zip.002, … make one, every other file is one."""
    groups: dict[str, list[Path]] = {}
    for file in files:
        match = re.fullmatch(r"(.+)\.\d{3}", file.name)
        groups.setdefault(match[1] if match else file.name, []).append(file)
    return [tuple(sorted(group, key=lambda file: file.name)) for group in groups.values()]


def unpack(
    files: Sequence[Path],
    folder: Path,
    *,
    only: Sequence[str] | None = None,
    free: int | None = None,
    limits: ArchiveLimits = ArchiveLimits(),
) -> int:
    """Unpack archives into `folder`, an empty one that the caller throws away after an error; return the files written.

    `only` are patterns of the members to take (None: all), `free` the bytes that may be written. Every archive is
    looked through before anything is written. Raises ListedError with each member that has an absolute name, leads
    outside, is a link or a device, or has the name of another; UserError for one that is damaged, encrypted, no archive
    or expands absurdly.
    """
    n_written = 0
    with ExitStack() as stack:
        archives = [(archive[0], stack.enter_context(open_container(archive))) for archive in archives_of(files)]
        selections: list[tuple[Path, Container, dict[str, Member]]] = []
        names: dict[str, str] = {}
        for path, archive in archives:
            files_inside = _checked(archive, path, limits, names)
            selections.append((path, archive, _selected(files_inside, only)))
        _check_amount(
            [member for _, _, members in selections for member in members.values()], archives[0][0], only, free
        )
        for path, archive, members in selections:
            with damage_explained(path):
                for name, member in members.items():
                    _write(archive, member, folder / name, path)
                    n_written += 1
    return n_written


def _checked(archive: Container, path: Path, limits: ArchiveLimits, names: dict[str, str]) -> list[tuple[str, Member]]:
    """Every file of an archive under its clean name. `names` holds those so far, of earlier archives too."""
    problems: list[str] = []
    files: list[tuple[str, Member]] = []
    total = count = 0
    with damage_explained(path):
        for member in archive.members():
            count, total = count + 1, total + member.size
            if count > limits.members or total > max(limits.harmless, limits.ratio * archive.packed):
                raise UserError(
                    f"the archive expands absurdly: {archive.packed:,} bytes to {total:,} or more, {count:,} members",
                    where=path,
                    remedy="do not unpack it; fetch it anew from its owner",
                )
            name, problem = _clean(member)
            if problem is None and member.kind == "file":
                problem = _collision(name, names)
                files.append((name, member))
            if problem is not None:
                problems.append(f"{member.name[:120]!r}: {problem}")
    if problems:
        raise ListedError(
            f"the archive is not unpacked: {len(problems)} member(s) do not belong in a dataset",
            problems,
            where=path,
            remedy="fetch it anew from its owner; if it stays so, unpack by hand what you trust",
        )
    return files


def _clean(member: Member) -> tuple[str, str | None]:
    """A member's name below the folder, and what is wrong with it.

    tarfile's data filter and zipfile's own cleaning are no help: they mend names without a word, where these are
    refused (`/a` becomes `a`, of zip `../a`, too), let links within the archive through, and know no rar.
    """
    name = member.name.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if member.kind in ("link", "special"):
        return name, "a link" if member.kind == "link" else "neither a file nor a folder"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return name, "an absolute name"
    if ".." in parts:
        return name, "leads out of the folder"
    if "\0" in name or (not parts and member.kind == "file"):
        return name, "no name for a file"
    if any(len(part.encode("utf-8", "replace")) > 255 for part in parts):
        return name, "a name too long"
    if len(parts) > DEPTH or len(name.encode("utf-8", "replace")) > LENGTH:
        return name, f"{len(parts)} folders in one another"
    return "/".join(parts), None


def _collision(name: str, names: dict[str, str]) -> str | None:
    """Remember a file's name; say what is wrong when it is there already, also as a folder or below a file.

    Upper and lower case are one name, as on many disks, where the second file would replace the first. `names` holds
    the name of each file by its folded name, and nothing for a folder.
    """
    folded = name.casefold()
    if folded in names:
        if not names[folded]:
            return "a file where a folder is"
        return "twice" if names[folded] == name else f"'{names[folded]}' but for upper and lower case"
    names[folded] = name
    for parent in list(PurePosixPath(folded).parents)[:-1]:
        if names.setdefault(str(parent), ""):
            return "below another file"
    return None


def _selected(members: list[tuple[str, Member]], only: Sequence[str] | None) -> dict[str, Member]:
    return {
        name: member for name, member in members if only is None or any(fnmatchcase(name, pattern) for pattern in only)
    }


def _check_amount(members: Sequence[Member], path: Path, only: Sequence[str] | None, free: int | None) -> None:
    total = sum(member.size for member in members)
    if not members:
        what = "the archive is empty" if only is None else f"the archive holds no file like {' or '.join(only)}"
        raise UserError(what, where=path, remedy="see what is in it; correct 'unpack' in the registry")
    if free is not None and total > free:
        raise UserError(
            f"the archive unpacks to {total:,} bytes; {free:,} are free", where=path, remedy="make room on that disk"
        )


def _write(archive: Container, member: Member, target: Path, path: Path) -> None:
    """Write one file, and never more of it than the archive announced."""
    target.parent.mkdir(parents=True, exist_ok=True)
    left = member.size
    with archive.open(member) as source, target.open("xb") as stream:
        while block := source.read(BLOCK):
            left -= len(block)
            if left < 0:
                break
            stream.write(block)
    if left != 0:
        raise UserError(
            f"'{member.name}' has another length than the archive announces", where=path, remedy="fetch it again"
        )
