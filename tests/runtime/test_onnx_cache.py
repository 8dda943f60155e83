"""The optimised graph is kept, used, renewed when it is damaged, and done without where it cannot be written."""

from __future__ import annotations

import logging
import resource
from pathlib import Path

import numpy as np
import pytest

from sdseg.runtime import cache, onnx_cache
from sdseg.runtime.onnx_backend import OnnxBackend
from tests.tiny import RGB, picture


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
        monkeypatch.setattr(onnx_cache, "INLINE_BYTES", 0)
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
