"""`predict --hypotheses`: a mask for each, as drawn from the model by hand; one message where there are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sdseg.backends.open_model import open_model
from sdseg.core.errors import UserError
from sdseg.inference.predict import PredictOptions, predict
from tests.helpers.models import GAUSSIAN, write_latent_model
from tests.helpers.own_files import photos, read
from tests.helpers.tiny import RGB, picture, write_graph, write_model

SAMPLES = 3
WANTED = PredictOptions(hypotheses=True)


def test_each_hypothesis_has_a_mask(tmp_path: Path) -> None:
    model = write_latent_model(tmp_path / "model", **GAUSSIAN, inference={"samples": SAMPLES})
    photos(tmp_path / "photos", 2, size=RGB.size)
    assert predict(model, [tmp_path / "photos"], tmp_path / "out", "cpu", WANTED) == 0
    served = open_model(model)
    images = np.stack([picture(RGB, seed)[0][..., ::-1] for seed in range(2)])  # BGR in the files
    expected = served.backend.hypotheses(images)[:, :, 0] > served.rule.threshold  # type: ignore[attr-defined]
    report = json.loads((tmp_path / "out" / "predict.json").read_text("utf-8"))
    masks = []
    for number, entry in enumerate(report["inputs"]):
        assert list(entry["outputs"]) == ["mask", "hypothesis1", "hypothesis2", "hypothesis3"]
        assert entry["outputs"]["hypothesis2"] == f"{number:03d}_hypothesis2.png"
        own = [read(tmp_path / "out" / entry["outputs"][f"hypothesis{one + 1}"]) > 0 for one in range(SAMPLES)]
        assert np.mean(np.stack(own) == expected[number]) > 0.995  # a pixel may sit on the threshold
        assert [one["pixels"]["polyp"] for one in entry["hypotheses"]] == [int(mask.sum()) for mask in own]
        masks += own
    assert any(not np.array_equal(masks[0], other) for other in masks[1:SAMPLES])


def test_where_there_are_none_nothing_is_written(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 1)
    with pytest.raises(UserError, match="'unet' has one answer to an image, and no hypotheses"):
        predict(write_model(tmp_path / "unet"), [tmp_path / "photos"], tmp_path / "out", "cpu", WANTED)
    graph = write_graph(tmp_path / "noisy.onnx", noise_shape=(2, 4, 4))
    with pytest.raises(UserError, match="the graph gives the mean of its hypotheses alone"):
        predict(graph, [tmp_path / "photos"], tmp_path / "out", "cpu", WANTED)
    assert not list((tmp_path / "out").glob("*_mask*"))
