"""`predict --hypotheses`: a mask for each, as drawn from the model by hand; one message where there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from sdseg.backends.open_model import open_model
from sdseg.core.errors import UserError
from sdseg.inference.predict import PredictOptions, predict
from tests.helpers.models import GAUSSIAN, write_latent_model
from tests.helpers.own_files import photos, read, report
from tests.helpers.raw_files import write_series
from tests.helpers.tiny import CT, RGB, picture, write_graph, write_model

SAMPLES = 3
WANTED = PredictOptions(hypotheses=True)


def test_each_hypothesis_has_a_mask(tmp_path: Path) -> None:
    model = write_latent_model(tmp_path / "model", **GAUSSIAN, inference={"samples": SAMPLES})
    photos(tmp_path / "photos", 2, size=RGB.size)
    assert predict(model, [tmp_path / "photos"], tmp_path / "out", "cpu", WANTED) == 0
    served = open_model(model)
    images = np.stack([picture(RGB, seed)[0][..., ::-1] for seed in range(2)])  # BGR in the files
    expected = served.backend.hypotheses(images)[:, :, 0] > served.rule.threshold  # type: ignore[attr-defined]
    masks = []
    for number, entry in enumerate(report(tmp_path / "out")["inputs"]):
        assert list(entry["outputs"]) == ["mask", "hypothesis1", "hypothesis2", "hypothesis3"]
        assert entry["outputs"]["hypothesis2"] == f"{number:03d}_hypothesis2.png"
        own = [read(tmp_path / "out" / entry["outputs"][f"hypothesis{one + 1}"]) > 0 for one in range(SAMPLES)]
        assert np.mean(np.stack(own) == expected[number]) > 0.995  # a pixel may sit on the threshold
        assert [one["pixels"]["polyp"] for one in entry["hypotheses"]] == [int(mask.sum()) for mask in own]
        masks += own
    assert any(not np.array_equal(masks[0], other) for other in masks[1:SAMPLES])


def test_those_of_a_series_are_objects_of_their_own_and_notes_are_said_once(tmp_path: Path) -> None:
    model = write_latent_model(tmp_path / "model", CT, **GAUSSIAN, inference={"samples": SAMPLES})
    voxels = np.random.default_rng(1).integers(-900, 900, (9, 8, 2)).astype(np.int16)
    for path in write_series(tmp_path / "series", voxels, t0020_000d="1.2.826.0.1.3680043.2.1125.9").iterdir():
        header = pydicom.dcmread(path)
        header.FrameOfReferenceUID = ""  # as anonymisation leaves it: a note
        header.save_as(path)
    assert predict(model, [tmp_path / "series"], tmp_path / "out", "cpu", WANTED) == 0
    (entry,) = report(tmp_path / "out")["inputs"]
    assert sum("FrameOfReferenceUID" in note for note in entry["notes"]) == 1
    assert len(entry["notes"]) == len(set(entry["notes"]))
    headers = [pydicom.dcmread(tmp_path / "out" / name) for name in entry["outputs"].values()]
    assert len({header.SOPInstanceUID for header in headers}) == SAMPLES + 1
    assert [header.InstanceNumber for header in headers] == [1, 2, 3, 4]


def test_where_there_are_none_nothing_is_written(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 1)
    with pytest.raises(UserError, match="'unet' has one answer to an image, and no hypotheses"):
        predict(write_model(tmp_path / "unet"), [tmp_path / "photos"], tmp_path / "out", "cpu", WANTED)
    graph = write_graph(tmp_path / "noisy.onnx", noise_shape=(2, 4, 4))
    with pytest.raises(UserError, match="the graph gives the mean of its hypotheses alone"):
        predict(graph, [tmp_path / "photos"], tmp_path / "out", "cpu", WANTED)
    assert not list((tmp_path / "out").glob("*_mask*"))
