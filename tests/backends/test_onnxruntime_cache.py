"""The optimised graph is kept, used, renewed when it is damaged, and done without where it cannot be written."""

from __future__ import annotations

import logging
import os
import re
import resource
from pathlib import Path

import numpy as np
import onnx
import pytest

from sdseg.backends import cache, cache_checksums, onnxruntime_cache
from sdseg.backends.onnxruntime import OnnxBackend
from tests.helpers.tiny import RGB, picture


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of optimised graphs, for graphs of any size."""
    monkeypatch.setenv("SDSEG_CACHE", str(tmp_path / "cache é"))
    monkeypatch.setattr(cache, "CACHED_FROM", 0)
    return tmp_path / "cache é" / "onnxruntime"


@pytest.mark.parametrize("inline", [True, False])
def test_second_start_uses_the_first_ones_work(
    bright_rgb: Path, kept: Path, inline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not inline:
        monkeypatch.setattr(onnxruntime_cache, "INLINE_BYTES", 0)
    image = picture(RGB, 0)[0][None]
    first = OnnxBackend(bright_rgb)
    (entry,) = kept.iterdir()
    written = (entry / "model.onnx").stat().st_mtime_ns
    second = OnnxBackend(bright_rgb)
    assert (entry / "model.onnx").stat().st_mtime_ns == written
    assert second.manifest == first.manifest
    np.testing.assert_array_equal(second.probability(image), first.probability(image))


def test_a_damaged_entry_is_made_again(bright_rgb: Path, kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    OnnxBackend(bright_rgb)
    (entry,) = kept.iterdir()
    (entry / "model.onnx").write_bytes(b"cut off")
    with caplog.at_level(logging.WARNING):
        OnnxBackend(bright_rgb)
    assert "the optimised graph is made again" in caplog.text
    assert (entry / "model.onnx").stat().st_size > 100


@pytest.mark.parametrize("inline", [True, False])
def test_a_weight_that_changed_is_not_computed_with(
    bright_rgb: Path, kept: Path, inline: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if not inline:
        monkeypatch.setattr(onnxruntime_cache, "INLINE_BYTES", 0)
    image = picture(RGB, 0)[0][None]
    expected = OnnxBackend(bright_rgb).probability(image)
    (entry,) = kept.iterdir()
    model = onnx.load(str(entry / "model.onnx"))
    for weights in model.graph.initializer:
        if weights.data_type == onnx.TensorProto.FLOAT:
            zeros = np.zeros(tuple(weights.dims), np.float32)
            weights.CopyFrom(onnx.numpy_helper.from_array(zeros, weights.name))
    onnx.save(model, str(entry / "model.onnx"))
    with caplog.at_level(logging.WARNING):
        found = OnnxBackend(bright_rgb).probability(image)
    assert "the optimised graph is made again: its file 'model.onnx' is not the one that was kept" in caplog.text
    np.testing.assert_array_equal(found, expected)
    caplog.clear()
    np.testing.assert_array_equal(OnnxBackend(bright_rgb).probability(image), expected)
    assert not caplog.text


@pytest.mark.parametrize("place", [".", "onnxruntime"])
def test_a_cache_that_others_can_write_to_is_not_used(
    bright_rgb: Path, kept: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    OnnxBackend(bright_rgb)
    (entry,) = kept.iterdir()
    (entry / "model.onnx").write_bytes(b"what another user put there")
    (kept.parent / place).chmod(0o777)
    with caplog.at_level(logging.WARNING):
        assert OnnxBackend(bright_rgb).probability(picture(RGB, 0)[0][None]).shape == (1, 1, 32, 32)
    assert re.search(r"neither kept nor used: others can write to .*cache é", caplog.text)
    assert (entry / "model.onnx").read_bytes() == b"what another user put there"


def test_an_entry_that_others_can_write_to_is_made_again(
    bright_rgb: Path, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    OnnxBackend(bright_rgb)
    (entry,) = kept.iterdir()
    (entry / "model.onnx").chmod(0o666)
    with caplog.at_level(logging.WARNING):
        OnnxBackend(bright_rgb)
    assert re.search(r"is made again: others can write to .*model\.onnx", caplog.text)
    assert not (entry / "model.onnx").stat().st_mode & 0o022


@pytest.mark.parametrize("mask", [0o002, 0o077])
def test_what_is_kept_is_our_own_whatever_the_umask(bright_rgb: Path, kept: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        OnnxBackend(bright_rgb)
    finally:
        os.umask(before)
    (entry,) = kept.iterdir()
    assert cache_checksums.damage_of(entry) is None
    assert not [path for path in (kept.parent, *kept.parent.rglob("*")) if path.stat().st_mode & 0o022]


def test_a_cache_that_cannot_be_written(bright_rgb: Path, kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept.parent.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert OnnxBackend(bright_rgb).probability(picture(RGB, 0)[0][None]).shape == (1, 1, 32, 32)
    assert "the optimised graph is not kept" in caplog.text


def test_a_full_disk(bright_rgb: Path, kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with caplog.at_level(logging.WARNING):
            opened = OnnxBackend(bright_rgb)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert opened.probability(picture(RGB, 0)[0][None]).shape == (1, 1, 32, 32)
    assert "the optimised graph is not kept" in caplog.text
    assert not [path for path in kept.iterdir() if (path / "model.onnx").exists()]


def test_small_graphs_are_not_kept(bright_rgb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDSEG_CACHE", str(tmp_path / "cache"))
    OnnxBackend(bright_rgb)
    assert not (tmp_path / "cache").exists()
