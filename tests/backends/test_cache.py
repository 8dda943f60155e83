"""Where the cache lies, what its entries are named by, and which go when there are too many."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from sdseg.backends import cache


def test_old_entries_go(tmp_path: Path) -> None:
    kept = tmp_path / "onnxruntime"
    for number in range(cache.KEPT + 2):
        (kept / str(number)).mkdir(parents=True)
        os.utime(kept / str(number), (number, number))
    cache.prune(kept)
    assert sorted(path.name for path in kept.iterdir()) == [str(n) for n in range(2, cache.KEPT + 2)]


def test_what_killed_processes_left_goes_after_a_day(tmp_path: Path) -> None:
    now, before = tmp_path / ".entry.0123abcd.part", tmp_path / ".entry.4567efgh.part"
    for folder in (now, before):
        folder.mkdir()
    os.utime(before, (0, 0))
    cache.prune(tmp_path)
    assert list(tmp_path.iterdir()) == [now]


def test_where_the_cache_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDSEG_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "sdseg"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == Path.home() / ".cache" / "sdseg"


def test_an_entry_is_named_by_graph_weights_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDSEG_CACHE", str(tmp_path))
    graph, weights = tmp_path / "model.onnx", tmp_path / "model.onnx.data"
    graph.write_bytes(b"graph")
    alone = cache.cache_entry("onnxruntime", graph, "cpu", "1.31.1")
    assert alone == cache.cache_entry("onnxruntime", graph, "cpu", "1.31.1")
    assert alone.parent == tmp_path / "onnxruntime"
    weights.write_bytes(b"weights")
    others = [cache.cache_entry("onnxruntime", graph, "cpu", "1.31.1"), cache.cache_entry("openvino", graph, "cpu")]
    weights.write_bytes(b"others")
    others.append(cache.cache_entry("onnxruntime", graph, "cpu", "1.31.1"))
    assert len({alone, *others}) == 4
    assert cache.graph_bytes(graph) == len(b"graph" + b"others")
    assert not cache.worth_keeping(graph)


def test_a_checksum_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"one")
    first = cache.checksum_of(path)
    assert first == cache.checksum_of(path) == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"two")
    os.utime(path, ns=(0, 7))
    assert cache.checksum_of(path) == hashlib.sha256(b"two").hexdigest()


def test_the_checksum_of_a_large_file_is_remembered_while_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "CACHED_FROM", 3)
    monkeypatch.setattr(cache, "SETTLED", -1.0)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"one")
    assert cache.checksum_of(path) == hashlib.sha256(b"one").hexdigest()
    (note,) = (tmp_path / "cache" / "checksums").iterdir()
    note.write_text("0" * 64)  # shows where the next answer comes from
    cache._checksum.cache_clear()
    assert cache.checksum_of(path) == "0" * 64
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(b"two")
    os.utime(path, ns=times)  # as if it had never changed: the inode's own time cannot be set back
    assert cache.checksum_of(path) == hashlib.sha256(b"two").hexdigest()
    note.write_text("cut off")
    path.rename(tmp_path / "other.onnx")
    assert cache.checksum_of(tmp_path / "other.onnx") == hashlib.sha256(b"two").hexdigest()


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "CACHED_FROM", 3)
    (tmp_path / "model.onnx").write_bytes(b"one")
    assert cache.checksum_of(tmp_path / "model.onnx") == hashlib.sha256(b"one").hexdigest()
    assert not (tmp_path / "cache").exists()


def test_a_checksum_without_some_bytes(tmp_path: Path) -> None:
    data = os.urandom(3 * cache.BLOCK + 5)
    (tmp_path / "model.onnx").write_bytes(data)
    for first, last in ((0, 64), (7, 71), (cache.BLOCK - 3, cache.BLOCK + 3), (len(data) - 64, len(data))):
        expected = hashlib.sha256(data[:first] + data[last:]).hexdigest()
        assert cache.checksum_of(tmp_path / "model.onnx", (first, last)) == expected


def test_notes_that_others_can_write_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "CACHED_FROM", 3)
    monkeypatch.setattr(cache, "SETTLED", -1.0)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"one")
    cache.checksum_of(path)
    (note,) = (tmp_path / "cache" / "checksums").iterdir()
    note.write_text("0" * 64)
    note.chmod(0o666)
    cache._checksum.cache_clear()
    assert cache.checksum_of(path) == hashlib.sha256(b"one").hexdigest()
    note.write_text("0" * 64)
    note.parent.chmod(0o777)
    cache._checksum.cache_clear()
    assert cache.checksum_of(path) == hashlib.sha256(b"one").hexdigest()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_what_another_user_owns_is_not_ours(tmp_path: Path) -> None:
    assert cache.open_to_others(tmp_path) is None
    os.chown(tmp_path, 12345, -1)
    assert cache.open_to_others(tmp_path) == f"{tmp_path} belongs to another user"
