"""The headers of MetaImage and NRRD: whether they are such, and where they say that their voxels lie."""

from __future__ import annotations

import re
from pathlib import Path

from sdseg.core.errors import UserError
from sdseg.io.content import file_size

__all__ = ["check_header", "named_files"]

HEADER = 1 << 14  # bytes that hold the marks of a header
LONGEST = 1 << 20  # bytes that hold any header and its list of files
META_DATA = re.compile(rb"(?:^|[\r\n])\s*ElementDataFile\s*[=:]\s*([^\r\n]*)")  # the first one is the last line
NRRD_DATA = re.compile(rb"(?:^|[\r\n])\s*data ?file\s*:(?!=)\s*([^\r\n]*)", re.IGNORECASE)
NRRD_END = re.compile(rb"\n\n|\r\n\r\n")  # an empty line; what follows are voxels
SPACING = re.compile(rb"(?:^|[\r\n])\s*(?:ElementSpacing|spacings)\s*[=:]([^\r\n]*)", re.IGNORECASE)
NUMBERED = re.compile(r"^([^%]*%0?\d*d[^%]*?)((?:\s+-?\d+)+)$")  # name%03d.raw 1 20 1: first, last, step


def check_header(path: Path, *, nrrd: bool) -> None:
    """Raise UserError for a file without such a header, a spacing of 0 or less, data files missing or not beside it.

    A header may name any file at all, and the library that reads it would take its bytes for voxels: a header from
    elsewhere must not lead out of its folder. (And MetaIO would print to the terminal what is wrong, naming no file.)
    """
    with path.open("rb") as stream:
        head = stream.read(HEADER)
    if not head:
        raise UserError("the file is empty", where=path, remedy="replace the file by a whole copy")
    if any(mark not in head for mark in ((b"NRRD",) if nrrd else (b"NDims", b"ElementDataFile"))):
        raise UserError(
            f"no header of {'an NRRD' if nrrd else 'a MetaImage'} file in it",
            where=path,
            remedy="replace the file by a whole, valid copy",
        )
    _check_spacing(head, path)
    for name in _names(path, nrrd=nrrd):
        if not name.isprintable():
            raise UserError(
                "its header names a data file in bytes that are no text",
                where=path,
                remedy="replace the file by a whole, valid copy",
            )
        if Path(name).name != name or "\\" in name or name in (".", ".."):
            raise UserError(
                f"its header says that the voxels lie in '{name}'; only a file beside it is read",
                where=path,
                remedy="put the data file beside the header, and its bare name into it",
            )
        if "%" in name:
            continue  # one name for many files; the reader says which of them is missing
        data = path.parent / name
        if not data.exists():
            raise UserError(
                f"its data file '{name}' is missing",
                where=path,
                remedy="put it beside the header, under the name in there",
            )
        file_size(data)


def _check_spacing(head: bytes, path: Path) -> None:
    """ITK takes a negative spacing for an axis that runs the other way: left and right would change places unseen."""
    match = SPACING.search(head)
    text = match.group(1).decode("ascii", "replace").strip() if match else ""
    try:
        wrong = any(float(word) <= 0 for word in text.split())
    except ValueError:
        wrong = True
    if wrong:
        raise UserError(
            f"the spacing '{text}' in its header; lengths above 0 are expected",
            where=path,
            remedy="repair the header: an axis that runs the other way is told by its direction",
        )


def named_files(path: Path, *, nrrd: bool) -> tuple[Path, ...]:
    """The files beside a header that hold its voxels, those of a numbered name included; none where it holds them."""
    paths = list[Path]()
    for name in _names(path, nrrd=nrrd):
        if not name.isprintable():
            raise UserError(
                "its header names a data file in bytes that are no text",
                where=path,
                remedy="replace the file by a whole, valid copy",
            )
        pattern = re.sub(r"%0?\d*d", "[0-9]*", name)
        paths += sorted(path.parent.glob(pattern)) if "%" in name else [path.parent / name]
    return tuple(paths)


def _names(path: Path, *, nrrd: bool) -> list[str]:
    """What the header names: a file, a name with a number in it, or every line of a list."""
    with path.open("rb") as stream:
        text = stream.read(LONGEST)
        at_end = not stream.read(1)
    fields = list(NRRD_DATA.finditer(text)) if nrrd else [match] if (match := META_DATA.search(text)) else []
    if not (fields or (nrrd and (at_end or NRRD_END.search(text)))):
        raise UserError(
            "its header does not say where the voxels lie, or only behind its first megabyte",
            where=path,
            remedy="replace the file by a whole, valid copy",
        )
    names = list[str]()
    for field in fields:
        value = field.group(1).strip().decode("utf-8", "replace")
        word = (value.upper().split() or ["LOCAL"])[0]
        if word == "LOCAL":
            continue
        if word == "LIST":
            lines = text[field.end() :].decode("utf-8", "replace").splitlines()
            names += [line.strip() for line in lines if line.strip()]
        elif numbered := NUMBERED.match(value):
            names.append(numbered[1].strip())
        elif "%" in value:
            raise UserError(
                f"its header names data files by a pattern that is not understood: '{value}'",
                where=path,
                remedy="join them into one file, or use a pattern as name%03d.raw 1 20 1",
            )
        else:
            names.append(value)
    return [name.removeprefix("./") for name in names]
