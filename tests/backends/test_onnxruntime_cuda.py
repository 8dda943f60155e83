"""ONNX Runtime on a GPU: bound buffers and CUDA graphs give what the CPU gives, whatever sizes come in what order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.core.errors import UserError
from tests.helpers.tiny import CT, RGB, picture, write_graph


def no_gpu() -> str | None:
    """Why the tests below are skipped, None where they run."""
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "this build of ONNX Runtime has no CUDA: nothing was run on a GPU"
    import torch

    return None if torch.cuda.is_available() else "no GPU: nothing was run on one"


needs_gpu = pytest.mark.skipif(no_gpu() is not None, reason=str(no_gpu()))
SIZES = (2, 1, 3, 5, 2, 8, 1)  # each size comes back after another one


@needs_gpu
@pytest.mark.parametrize("cuda_graph", [False, True], ids=["bound", "graph"])
def test_agrees_with_the_cpu(exported: dict[str, Path], ct_slices: np.ndarray, cuda_graph: bool) -> None:
    ours = OnnxBackend(exported["fp32"], "cuda", cuda_graph=cuda_graph)
    theirs = OnnxBackend(exported["fp32"])
    assert ours.name == "onnxruntime-cuda"
    for turn, size in enumerate(SIZES):
        images = np.roll(np.resize(ct_slices, (size, *ct_slices.shape[1:])), turn, axis=1)
        np.testing.assert_allclose(ours.probability(images), theirs.probability(images), atol=1e-3)


@needs_gpu
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_runs_half_precision(exported: dict[str, Path], ct_slices: np.ndarray, precision: str) -> None:
    expected = OnnxBackend(exported["fp32"]).probability(ct_slices)
    found = OnnxBackend(exported[precision], "cuda").probability(ct_slices)
    assert 0 < np.abs(found - expected).max() < 0.15


@needs_gpu
@pytest.mark.parametrize("cuda_graph", [False, True], ids=["bound", "graph"])
def test_feeds_noise(tmp_path: Path, cuda_graph: bool) -> None:
    path = write_graph(tmp_path / "model.onnx", noise_shape=(2, 4, 4))
    images = np.stack([picture(RGB, seed)[0] for seed in range(3)])
    ours, theirs = OnnxBackend(path, "cuda", seed=7, cuda_graph=cuda_graph), OnnxBackend(path, seed=7)
    for seed in (7, 8, 7):  # the same buffers, other noise
        expected = theirs.with_seed(seed).probability(images)
        np.testing.assert_allclose(ours.with_seed(seed).probability(images), expected, atol=1e-4)


@needs_gpu
def test_threads_take_turns(bright_ct: Path) -> None:
    images = [np.stack([picture(CT, seed, labels=2)[0]] * (1 + seed % 3)) for seed in range(12)]
    ours, theirs = OnnxBackend(bright_ct, "cuda"), OnnxBackend(bright_ct)
    with ThreadPoolExecutor(4) as pool:
        for found, batch in zip(pool.map(ours.probability, images), images, strict=True):
            np.testing.assert_allclose(found, theirs.probability(batch), atol=1e-4)


@pytest.mark.skipif(no_gpu() is None, reason="this machine has a GPU")
def test_no_gpu_is_an_error_and_never_the_cpu(bright_rgb: Path) -> None:
    with pytest.raises(UserError, match=r"CUDAExecutionProvider is not among its providers|fell back to"):
        OnnxBackend(bright_rgb, "cuda")
