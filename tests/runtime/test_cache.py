"""Where the cache lies, what its entries are named by, and which go when there are too many."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from sdseg.runtime import cache


def test_old_entries_go(tmp_path: Path) -> None:
    kept = tmp_path / "onnxruntime"
    for number in range(cache.KEPT + 2):
        (kept / str(number)).mkdir(parents=True)
        os.utime(kept / str(number), (number, number))
    cache.prune(kept)
    assert sorted(path.name for path in kept.iterdir()) == [str(n) for n in range(2, cache.KEPT + 2)]


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
