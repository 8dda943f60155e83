"""An engine's buffers: batches cut up and filled up, every output of its graph, the noise of other runtimes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdseg.backends.base import hypotheses_of, why_mean_alone
from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.config.export import Batches
from tests.helpers.engines import GraphEngine
from tests.helpers.tiny import CT, DISC_CUP, RGB, picture, write_graph


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [2]), (2, [2]), (3, [3]), (4, [4]), (5, [4, 2]), (11, [4, 4, 3])], ids=str
)
def test_batches_are_cut_up_and_filled_up(bright_ct: Path, count: int, sizes: list[int]) -> None:
    engine = GraphEngine(bright_ct, Batches(min=2, opt=3, max=4))
    images = np.stack([picture(CT, seed, labels=2)[0] for seed in range(count)]).astype(np.int16)
    np.testing.assert_allclose(engine.probability(images), OnnxBackend(bright_ct).probability(images), atol=1e-6)
    assert engine.sizes == sizes


def test_its_noise_is_that_of_other_runtimes(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "model.onnx", RGB, DISC_CUP, noise_shape=(2, 4, 4))
    images = np.stack([picture(RGB, seed)[0] for seed in range(3)])
    engines = [GraphEngine(path, Batches(min=1, opt=2, max=2), seed) for seed in (3, 4)]
    found = [engine.probability(images) for engine in engines]
    np.testing.assert_allclose(found[0], OnnxBackend(path, seed=3).probability(images), atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 1e-4
    assert hypotheses_of(engines[0]) is None
    assert why_mean_alone(engines[0]) == "the engine gives the mean of its hypotheses alone"


def test_one_without_noise_is_one_hypothesis(bright_rgb: Path) -> None:
    engine = GraphEngine(bright_rgb, Batches())
    own, images = hypotheses_of(engine), np.zeros((2, 32, 32, 3), np.uint8)
    assert own is not None
    assert own(images).shape == (2, engine.samples, 1, 32, 32) == (2, 1, 1, 32, 32)
