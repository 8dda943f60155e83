"""Archives made to do harm are refused before a byte is written; good ones come out whole."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdseg.core.errors import ListedError, UserError
from sdseg.download.archives import ArchiveLimits, archives_of, unpack
from sdseg.download.containers import Pieces

FILES = {"Kvasir-SEG/images/a.jpg": b"image", "Kvasir-SEG/masks/a.jpg": b"mask" * 50_000, "é ü.txt": b""}
Members = Sequence[tuple[str, bytes]]


def make_zip(path: Path, members: Members, *, mode: int = 0) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # a name twice
        for name, data in members:
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it stands, also with a backslash
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return path


def make_tar(path: Path, members: Members, *, form: str = "w:gz", change: Callable[[Any], None] | None = None) -> Path:
    with tarfile.open(path, form) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if change is not None:
                change(info)
            archive.addfile(info, io.BytesIO(data))
    return path


def make_rar(path: Path, members: Members, *, link: bool = False) -> Path:
    """A rar archive (version 5) whose members are stored as they are, written by the published format."""

    def number(value: int) -> bytes:
        found = bytearray()
        while value > 0x7F:
            found.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*found, value])

    def block(body: bytes) -> bytes:
        sized = number(len(body)) + body
        return zlib.crc32(sized).to_bytes(4, "little") + sized

    parts = [b"Rar!\x1a\x07\x01\x00", block(number(1) + number(0) + number(0))]
    for name, data in members:
        target = b"/etc/passwd"
        redirection = number(5) + number(1) + number(0) + number(len(target)) + target
        extra = number(len(redirection)) + redirection if link else b""
        file = number(4) + number(len(data)) + number(0o100644) + zlib.crc32(data).to_bytes(4, "little")
        file += number(0) + number(1) + number(len(name.encode())) + name.encode()
        head = number(2) + number(3 if link else 2) + (number(len(extra)) if link else b"") + number(len(data))
        parts += [block(head + file + extra), data]
    path.write_bytes(b"".join(parts) + block(number(5) + number(0) + number(0)))
    return path


MAKERS: dict[str, Callable[[Path, Members], Path]] = {
    "zip": make_zip,
    "tar": lambda path, members: make_tar(path, members, form="w"),
    "tar.gz": make_tar,
    "tar.bz2": lambda path, members: make_tar(path, members, form="w:bz2"),
    "tar.xz": lambda path, members: make_tar(path, members, form="w:xz"),
    "rar": make_rar,
}
kinds = pytest.mark.parametrize("kind", MAKERS)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    made = tmp_path / "ausgepackt é"
    made.mkdir()
    return made


@kinds
def test_a_good_archive_comes_out_whole(kind: str, tmp_path: Path, empty: Path) -> None:
    archive = MAKERS[kind](tmp_path / f"name says nothing.{kind[::-1]}", list(FILES.items()))
    assert unpack([archive], empty) == len(FILES)
    assert content(empty) == FILES


BAD = [
    ("../outside.txt", "leads out of the folder"),
    ("a/../../outside.txt", "leads out of the folder"),
    ("/absolute.txt", "an absolute name"),
    ("a/" + "n" * 300, "a name too long"),
    ("a/" * 2000 + "x", "2001 folders in one another"),
    (("n" * 200 + "/") * 20 + "x", "21 folders in one another"),
]
WINDOWS = [
    ("..\\outside.txt", "leads out of the folder"),
    ("C:\\windows\\system.ini", "an absolute name"),
    ("\\\\server\\share", "an absolute name"),
]


@kinds
@pytest.mark.parametrize(("name", "problem"), BAD + WINDOWS)
def test_names_that_lead_elsewhere_are_refused(kind: str, name: str, problem: str, tmp_path: Path, empty: Path) -> None:
    archive = MAKERS[kind](tmp_path / "bad", [("good.txt", b"good"), (name, b"bad")])
    with pytest.raises(ListedError, match=problem) as caught:
        unpack([archive], empty)
    assert len(caught.value.problems) == 1
    assert content(empty) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == [empty.name, "bad"]


@kinds
def test_names_that_collide_are_refused(kind: str, tmp_path: Path, empty: Path) -> None:
    for members, problem in [
        ([("a.txt", b"1"), ("./a.txt", b"2")], "'./a.txt': twice"),
        ([("A/a.txt", b"1"), ("a/A.TXT", b"2")], "'a/A.TXT': 'A/a.txt' but for upper and lower case"),
        ([("a", b"1"), ("a/b", b"2")], "'a/b': below another file"),
        ([("a/b", b"1"), ("a", b"2")], "'a': a file where a folder is"),
    ]:
        with pytest.raises(ListedError, match="do not belong in a dataset") as caught:
            unpack([MAKERS[kind](tmp_path / "bad", members)], empty)
        assert caught.value.problems == (problem,)
    assert content(empty) == {}


def test_two_archives_do_not_write_over_each_other(tmp_path: Path, empty: Path) -> None:
    one, two = make_zip(tmp_path / "one.zip", [("a", b"1")]), make_tar(tmp_path / "two.tar", [("a", b"2")])
    with pytest.raises(ListedError, match=r"(?s)'a': twice.*two\.tar"):
        unpack([one, two], empty)
    assert content(empty) == {}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_refused(kind: int, tmp_path: Path, empty: Path) -> None:
    archive = make_zip(tmp_path / "bad.zip", [("link", b"/etc/passwd")], mode=kind | 0o777)
    with pytest.raises(ListedError, match=r"'link': (a link|neither a file nor a folder)"):
        unpack([archive], empty)
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
@pytest.mark.parametrize("leads_to", ["/etc/passwd", "../../outside", "good.txt"])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, leads_to: str, tmp_path: Path, empty: Path) -> None:
    def change(info: tarfile.TarInfo) -> None:
        if info.name == "link":
            info.type, info.linkname, info.size = kind, leads_to, 0

    archive = make_tar(tmp_path / "bad.tar", [("good.txt", b"good"), ("link", b"")], change=change)
    with pytest.raises(ListedError, match=r"'link': (a link|neither a file nor a folder)"):
        unpack([archive], empty)
    assert list(empty.iterdir()) == []


def test_links_in_a_rar_are_refused(tmp_path: Path, empty: Path) -> None:
    archive = make_rar(tmp_path / "bad.rar", [("link", b"")], link=True)
    with pytest.raises(ListedError, match="'link': a link"):
        unpack([archive], empty)
    assert list(empty.iterdir()) == []


def test_a_way_through_a_link_is_closed(tmp_path: Path, empty: Path) -> None:
    """A link to a folder outside, and then a file below the link."""
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("way")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
        file = tarfile.TarInfo("way/owned.txt")
        file.size = 5
        archive.addfile(file, io.BytesIO(b"owned"))
    with pytest.raises(ListedError, match="'way': a link"):
        unpack([path], empty)
    assert not (tmp_path / "owned.txt").exists()


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_absurd_expansion_is_refused(kind: str, tmp_path: Path, empty: Path) -> None:
    archive = MAKERS[kind](tmp_path / "bomb", [(f"{number}", bytes(4_000_000)) for number in range(3)])
    assert archive.stat().st_size < 40_000
    with pytest.raises(UserError, match=r"expands absurdly: [\d,]+ bytes to [\d,]+ or more, \d members"):
        unpack([archive], empty, limits=ArchiveLimits(harmless=1_000_000))
    assert list(empty.iterdir()) == []
    assert unpack([archive], empty) == 3  # small ones do no harm, whatever they expand to


@kinds
def test_too_many_members_are_refused(kind: str, tmp_path: Path, empty: Path) -> None:
    archive = MAKERS[kind](tmp_path / "many", [(str(number), b"") for number in range(30)])
    with pytest.raises(UserError, match=r"expands absurdly: .* 21 members"):
        unpack([archive], empty, limits=ArchiveLimits(members=20))
    assert list(empty.iterdir()) == []


@kinds
def test_more_than_the_disk_has_free_is_refused(kind: str, tmp_path: Path, empty: Path) -> None:
    archive = MAKERS[kind](tmp_path / "big", list(FILES.items()))
    with pytest.raises(UserError, match=r"unpacks to 200,005 bytes; 1,000 are free"):
        unpack([archive], empty, free=1000)
    assert list(empty.iterdir()) == []


def test_a_member_longer_than_announced_is_not_written_on(tmp_path: Path, empty: Path) -> None:
    archive = make_zip(tmp_path / "liar.zip", [("a", b"x" * 100_000)])
    data = archive.read_bytes().replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    archive.write_bytes(data)
    with pytest.raises(UserError, match=r"damaged|another length"):
        unpack([archive], empty)
    assert sum(path.stat().st_size for path in empty.iterdir()) <= 10


CUTS = [(kind, keep) for kind in MAKERS for keep in (0.3, 0.9)]
CUTS += [(kind, 0.9995) for kind in MAKERS if kind not in ("tar", "rar")]  # of those this is the end mark alone


@pytest.mark.parametrize(("kind", "keep"), CUTS)
def test_a_truncated_archive_is_told(kind: str, keep: float, tmp_path: Path, empty: Path) -> None:
    members = [(str(number), os.urandom(20_000)) for number in range(5)]
    archive = MAKERS[kind](tmp_path / "cut", members)
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(UserError, match=r"damaged|cut short|another length"):
        unpack([archive], empty)


def test_a_damaged_byte_is_told(tmp_path: Path, empty: Path) -> None:
    for kind in ("zip", "rar", "tar.gz", "tar.bz2", "tar.xz"):
        archive = MAKERS[kind](tmp_path / kind, [(kind, os.urandom(20_000))])
        data = bytearray(archive.read_bytes())
        data[10_000] ^= 0xFF
        archive.write_bytes(data)
        with pytest.raises(UserError, match=r"damaged|cut short"):
            unpack([archive], empty)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no archive that can be read"),
        (b"just text", "no archive that can be read"),
        (b"<!DOCTYPE html><title>Sign in</title>", "a web page, not an archive"),
        (b"PK\x03\x04 and no more", "damaged"),
        (b"Rar!\x1a\x07\x01\x00 and no more", "the archive is empty"),
    ],
)
def test_what_is_no_archive_is_told(data: bytes, message: str, tmp_path: Path, empty: Path) -> None:
    path = tmp_path / "kvasir-seg.zip"
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"(?s){message}.*kvasir-seg\.zip"):
        unpack([path], empty)


def test_an_encrypted_zip_is_told(tmp_path: Path, empty: Path) -> None:
    archive = make_zip(tmp_path / "secret.zip", [("a", b"1")])
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    archive.write_bytes(data)
    with pytest.raises(UserError, match="encrypted"):
        unpack([archive], empty)


def test_a_compression_that_python_lacks_is_named(tmp_path: Path, empty: Path) -> None:
    archive = make_zip(tmp_path / "deflate64.zip", [("a", b"1")])
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(mark) + offset] = 9
    archive.write_bytes(data)
    with pytest.raises(UserError, match=r"(?s)packed in a way that is not read here: .*compression.*deflate64\.zip"):
        unpack([archive], empty)


def test_an_archive_without_files(tmp_path: Path, empty: Path) -> None:
    with pytest.raises(UserError, match="the archive is empty"):
        unpack([make_zip(tmp_path / "a.zip", [])], empty)
    with pytest.raises(UserError, match=r"holds no file like \*/labels/\*"):
        unpack([make_zip(tmp_path / "b.zip", list(FILES.items()))], empty, only=["*/labels/*"])


def test_only_what_is_wanted_is_unpacked(tmp_path: Path, empty: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", list(FILES.items()))
    assert unpack([archive], empty, only=["*masks/*"]) == 1
    assert set(content(empty)) == {"Kvasir-SEG/masks/a.jpg"}
    bad = make_zip(tmp_path / "bad.zip", [("../outside", b""), ("masks/a", b"")])  # looked at all the same
    with pytest.raises(ListedError, match="leads out of the folder"):
        unpack([bad], empty, only=["masks/*"])


def cut(path: Path, sizes: Sequence[int]) -> list[Path]:
    data, pieces, start = path.read_bytes(), [], 0
    for number, size in enumerate([*sizes, len(path.read_bytes()) - sum(sizes)], start=1):
        pieces.append(path.with_name(f"{path.name}.{number:03d}"))
        pieces[-1].write_bytes(data[start : start + size])
        start += size
    return pieces


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_in_pieces_is_one_archive(kind: str, tmp_path: Path, empty: Path) -> None:
    pieces = cut(MAKERS[kind](tmp_path / "SD-Tooth.zip", list(FILES.items())), [7, 100, 31])
    assert unpack(pieces[::-1], empty) == len(FILES)  # whatever their order
    assert content(empty) == FILES
    with pytest.raises(UserError, match="piece 002 of the archive is missing"):
        unpack([pieces[0], *pieces[2:]], empty)


def test_pieces_are_told_from_other_files() -> None:
    names = ["a.zip.001", "b.zip", "a.zip.002", "c.tar.gz"]
    found = [tuple(path.name for path in group) for group in archives_of([Path(name) for name in names])]
    assert found == [("a.zip.001", "a.zip.002"), ("b.zip",), ("c.tar.gz",)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=30), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)), max_size=8),
)
def test_pieces_read_like_the_file_they_were(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], reads: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("pieces")
    paths = [folder / str(number) for number in range(len(parts))]
    for path, data in zip(paths, parts, strict=True):
        path.write_bytes(data)
    whole = io.BytesIO(b"".join(parts))
    with Pieces(paths) as raw, io.BufferedReader(raw, 16) as stream:
        for position, length in reads:
            whole.seek(position)
            stream.seek(position)
            assert stream.read(length) == whole.read(length)
        assert stream.seek(-1, io.SEEK_END) == whole.seek(-1, io.SEEK_END) if b"".join(parts) else True


@settings(max_examples=150)
@given(place=st.integers(1, 160), value=st.integers(0, 255), kind=st.sampled_from(["zip", "tar.gz", "tar.bz2", "tar"]))
def test_damage_near_the_end_is_one_error(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, kind: str
) -> None:
    """Where a zip has its directory, and the others their checksums."""
    folder = tmp_path_factory.mktemp("damaged")
    path = MAKERS[kind](folder / "a", [("a/b.txt", b"text" * 50), ("c.txt", b"more")])
    data = bytearray(path.read_bytes())
    data[-min(place, len(data))] = value
    path.write_bytes(data)
    (folder / "out").mkdir()
    with contextlib.suppress(UserError):  # a byte that says nothing, or was that already
        unpack([path], folder / "out")
