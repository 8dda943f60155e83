"""Zip, rar and tar opened alike: what kind a file is, its members, and the bytes of each."""

from __future__ import annotations

import errno
import gzip
import io
import lzma
import re
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, BinaryIO

from sdseg.core.errors import UserError

__all__ = ["Container", "Member", "Pieces", "damage_explained", "open_container"]

PADDING = 1 << 22  # bytes after the last member
_DEVICES = (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK)


@dataclass(frozen=True)
class Member:
    """One thing in an archive."""

    name: str
    size: int  # bytes, as the archive says
    kind: str  # "file", "folder", "link" or "special"
    handle: Any  # what the library calls it


class Container:
    """An opened archive."""

    def __init__(self, kind: str, library: Any, packed: int) -> None:
        self.kind, self.library, self.packed = kind, library, packed  # packed: bytes

    def members(self) -> Iterator[Member]:
        """Every member in the archive's order, one at a time: a listing may be as long as its maker liked."""
        if self.kind == "tar":
            for info in self.library:
                yield Member(info.name, info.size, _tar_kind(info), info)
            # The compression's own checksum comes after the last member, where tarfile does not look.
            if len(self.library.fileobj.read(PADDING + 1)) > PADDING:
                raise tarfile.ReadError("goes on long after its end")
        elif self.kind == "zip":
            for info in self.library.infolist():  # zipfile cuts `filename` at a zero byte
                yield Member(info.orig_filename, info.file_size, _zip_kind(info), info)
        else:
            for info in self.library.infolist():
                yield Member(info.filename, info.file_size, _rar_kind(info), info)

    def open(self, member: Member) -> IO[bytes]:
        """The bytes of a member that is a file."""
        open_member = self.library.extractfile if self.kind == "tar" else self.library.open
        stream: IO[bytes] = open_member(member.handle)
        return stream


@contextmanager
def open_container(pieces: tuple[Path, ...]) -> Iterator[Container]:
    """Open an archive by what is in it, not by its name. `pieces` are the files it is cut into, or the one file.

    Raises UserError for a missing piece, an encrypted or damaged archive, a web page and any other kind of file.
    """
    path, packed = pieces[0], sum(piece.stat().st_size for piece in pieces)
    _check_pieces(pieces)
    with Pieces(pieces) as raw, io.BufferedReader(raw) as stream, damage_explained(path):
        head = stream.peek(512)[:512]
        if head.startswith(b"PK"):
            with zipfile.ZipFile(stream) as library:
                if any(info.flag_bits & 1 for info in library.infolist()):
                    raise _encrypted(path)
                yield Container("zip", library, packed)
        elif head.startswith(b"Rar!\x1a\x07"):
            if len(pieces) > 1:
                raise UserError("a rar archive in pieces", where=path, remedy="unpack it with your own tool")
            with _rar(path) as library:
                yield Container("rar", library, packed)
        else:
            with _tar(path, stream, head) as library:
                yield Container("tar", library, packed)


@contextmanager
def damage_explained(path: Path) -> Iterator[None]:
    """Turn what the libraries raise on a damaged archive into one error."""
    damage: list[type[Exception]] = [zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError]
    damage += [gzip.BadGzipFile, EOFError]
    # What they stumble over where sizes, places and names in a directory are wrong; no writing raises these.
    damage += [struct.error, ValueError, IndexError, KeyError, OverflowError, RecursionError, RuntimeError]
    if "rarfile" in sys.modules:
        damage.append(sys.modules["rarfile"].Error)
    try:
        yield
    except NotImplementedError as error:  # zipfile, for example of the Deflate64 that Windows packs large files with
        what = f"the archive is packed in a way that is not read here: {error}"
        raise UserError(what, where=path, remedy="unpack it with your own tool, for example 7z") from None
    except tuple(damage) as error:
        raise _damaged(path, error) from None
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # of the disk, not of a place before the beginning or a bad stream
            raise
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"the archive is damaged or cannot be read here: {str(error)[:200] or type(error).__name__}",
        where=path,
        remedy="fetch it again; if it stays so, unpack it with your own tool "
        "(for rar, installing unrar, unar, 7z or bsdtar may be all that is needed)",
    )


def _tar(path: Path, stream: Any, head: bytes) -> Any:
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        what = "the file is a web page, not an archive: a login or an error was saved"
        raise UserError(what, where=path, remedy="fetch it again while logged in")
    try:
        return tarfile.open(fileobj=stream, mode="r:*")
    except tarfile.ReadError:
        raise UserError(
            "no archive that can be read (zip, rar, tar, tar.gz, tar.bz2, tar.xz), or cut short",
            where=path,
            remedy="fetch it again, or unpack it with your own tool",
        ) from None


def _rar(path: Path) -> Any:
    try:
        import rarfile
    except ImportError as error:
        raise UserError(
            f"rar archives need the package 'rarfile', which cannot be imported: {error}",
            where=path,
            remedy="pip install 'sdseg[download]', or unpack it with your own tool",
        ) from None
    library = rarfile.RarFile(path)
    if library.needs_password():
        raise _encrypted(path)
    return library


def _encrypted(path: Path) -> UserError:
    return UserError("the archive is encrypted", where=path, remedy="unpack it yourself with its password")


def _check_pieces(pieces: tuple[Path, ...]) -> None:
    if re.search(r"\.\d{3}$", pieces[0].name):
        numbers = {int(piece.name[-3:]) for piece in pieces}
        missing = sorted(set(range(1, max(numbers) + 1)) - numbers)
        if missing:
            raise UserError(f"piece {missing[0]:03d} of the archive is missing", where=pieces[0], remedy="fetch it too")


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "link"
    return "file" if info.isreg() else "folder" if info.isdir() else "special"


def _zip_kind(info: zipfile.ZipInfo) -> str:
    form = stat.S_IFMT(info.external_attr >> 16)  # 0 when packed elsewhere than on Unix
    if form == stat.S_IFLNK:
        return "link"
    return "special" if form in _DEVICES else "folder" if info.is_dir() else "file"


def _rar_kind(info: Any) -> str:
    if info.is_symlink() or info.file_redir:
        return "link"
    return "folder" if info.is_dir() else "file"


class Pieces(io.RawIOBase):
    """Files one behind the other as one readable and seekable stream."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._ends = tuple(accumulate(path.stat().st_size for path in paths))
        self._position = 0
        self._open: tuple[int, BinaryIO] | None = None  # the piece read last

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._ends[-1]}[whence]
        if base + offset < 0:
            raise OSError(22, "negative seek position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill from the piece the position lies in; less than asked for at its end, 0 at the end of all."""
        index = bisect_right(self._ends, self._position)
        if index == len(self._paths):
            return 0
        stream = self._piece(index)
        stream.seek(self._position - (self._ends[index - 1] if index else 0))
        view = memoryview(buffer)[: self._ends[index] - self._position]
        data = stream.read(len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None
        super().close()

    def _piece(self, index: int) -> BinaryIO:
        if self._open is None or self._open[0] != index:
            if self._open is not None:
                self._open[1].close()
            self._open = (index, self._paths[index].open("rb"))
        return self._open[1]
