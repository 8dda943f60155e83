"""Files are written whole or not at all, and a user's own are never replaced; checksums."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdseg.core.errors import UserError
from sdseg.core.files import (
    atomic_file,
    atomic_folder,
    sha256_file,
    sha256_text,
    write_json,
    write_text,
)

ANY = ("*",)  # whatever the folder holds is ours


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_nan_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        write_json(tmp_path / "a.json", {"dice": float("nan")})
    assert names(tmp_path) == []


def test_file_replaces_the_old_one_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with atomic_file(path) as temporary:
        temporary.write_text("new", encoding="utf-8")
        assert path.read_text("utf-8") == "old"
    assert path.read_text("utf-8") == "new"
    assert names(tmp_path) == ["a.txt"]


def test_file_is_left_alone_by_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError, match="division"), atomic_file(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise ZeroDivisionError("division")
    assert path.read_text("utf-8") == "old"
    assert names(tmp_path) == ["a.txt"]


def test_file_has_ordinary_permissions(tmp_path: Path) -> None:
    write_text(tmp_path / "ours", "")
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "model é"
    for name in ("first", "second"):
        with atomic_folder(path, ANY) as folder:
            (folder / name).write_text(name, encoding="utf-8")
    assert names(tmp_path) == ["a", "model é", "second"]
    assert path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), KeyboardInterrupt("x")], ids=["failure", "interruption"])
def test_folder_is_left_alone_by_a_failure(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "model"
    with atomic_folder(path, ANY) as folder:
        (folder / "old").touch()
    with pytest.raises(type(error), match="x"), atomic_folder(path, ANY) as folder:
        (folder / "half").touch()
        raise error
    assert names(tmp_path) == ["model", "old"]


def test_folder_survives_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with atomic_folder(path, ANY) as folder:
        (folder / "old").touch()
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom sdseg.core.files import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1]), ['old']) as folder:\n"
        "    (folder / 'half').touch()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -9
    assert names(path) == ["old"]


def test_folder_of_the_users_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "photos"
    path.mkdir()
    (path / "holiday.jpg").touch()
    with pytest.raises(UserError, match=r"holds 'holiday\.jpg', which this command did not write"):
        atomic_folder(path, owned=("model.*",)).__enter__()
    assert names(tmp_path) == ["holiday.jpg", "photos"]


def test_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "model"
    written = atomic_folder(path, owned=("model.*",))
    with pytest.raises(UserError, match="holds 'notes', which this command did not write"), written as folder:
        (folder / "model.onnx").touch()
        path.mkdir()
        (path / "notes").touch()
    assert names(tmp_path) == ["model", "notes"]


def test_link_stays_and_its_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "old").touch()
    (tmp_path / "model").symlink_to("disk")
    with atomic_folder(tmp_path / "model", ANY) as folder:
        (folder / "new").touch()
    assert (tmp_path / "model").is_symlink()
    assert names(tmp_path / "disk") == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "model"]


def test_every_command_says_what_it_owns() -> None:
    with pytest.raises(TypeError, match="owned"):
        atomic_folder(Path("x"))  # type: ignore[call-arg]


def test_folder_of_ours_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "export"
    path.mkdir()
    (path / "model.onnx").touch()
    (path / ".snakemake_timestamp").touch()
    with atomic_folder(path, owned=("model.*",)) as folder:
        (folder / "model.onnx").write_text("new", encoding="utf-8")
    assert (path / "model.onnx").read_text("utf-8") == "new"


def test_file_in_place_of_an_output_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="the output is a file; a folder is expected"):
        atomic_folder(tmp_path / "out", owned=()).__enter__()
    with pytest.raises(UserError, match="cannot write"), atomic_folder(tmp_path / "out" / "below", ANY):
        pass


def test_full_disk_is_one_message_and_leaves_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with atomic_folder(path, ANY) as folder:
        (folder / "old").touch()
    with pytest.raises(UserError, match="cannot write: No space left on device"), atomic_folder(path, ANY):
        Path("/dev/full").write_text("x" * 100_000, encoding="utf-8")
    assert names(tmp_path) == ["model", "old"]


def test_full_disk_is_one_message_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write: No space left on device"), atomic_file(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"input\.png"), atomic_folder(tmp_path / "out", ANY):
        (tmp_path / "input.png").read_bytes()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_one_may_not_write_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(UserError, match="choose an output folder you may write to"):
            write_text(tmp_path / "a.txt", "")
        with (
            pytest.raises(UserError, match="choose an output folder you may write to"),
            atomic_folder(tmp_path / "b", ANY),
        ):
            pass
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc here")
def test_place_where_nothing_can_be_written() -> None:
    with pytest.raises(UserError, match="cannot write"):
        write_text(Path("/proc/self/a.txt"), "")
    with pytest.raises(UserError, match="cannot write"), atomic_folder(Path("/proc/self/b"), ANY):
        pass


@given(st.binary(max_size=300))
def test_checksum_of_a_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("sum") / "a"
    path.write_bytes(content)
    assert sha256_file(path) == hashlib.sha256(content).hexdigest()


def test_checksum_agrees_with_the_systems(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("grün", encoding="utf-8")
    told = subprocess.run(["sha256sum", path], capture_output=True, encoding="utf-8", check=True).stdout.split()[0]
    assert sha256_file(path) == sha256_text("grün") == told
