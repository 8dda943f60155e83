"""Volumes of one's own whose values are no 16-bit Hounsfield units: kept from file to store, model, graph and mask."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sdseg
from sdseg.artifacts.manifests import GraphManifest, PreparedManifest
from sdseg.backends.open_model import open_model
from sdseg.config.dataset import Dataset
from sdseg.config.export import Export
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import ListedError
from sdseg.core.files import read_json
from sdseg.data.prepare import prepare
from sdseg.data.slicing import to_slices
from sdseg.data.store import SliceStore
from sdseg.evaluation.evaluate import evaluate
from sdseg.evaluation.write_evaluation import EvaluationOptions
from sdseg.export.onnx import export
from sdseg.inference.predict import predict
from tests.helpers.networks import direct_recipe
from tests.helpers.raw_files import LPS, save, write_split
from tests.helpers.training import run

SIDE = 32
SPLIT = {"a": "train", "b": "train", "c": "val", "d": "test"}


def voxels(seed: int, dtype: str) -> tuple[AnyArray, AnyArray]:
    """A bright cylinder in noise, as an MR that was z-scored or an unsigned scan of 16 bits has it, and its label."""
    generator = np.random.default_rng(seed)
    x, y, z = np.mgrid[:SIDE, :SIDE, :3]
    label = (np.hypot(x - 12 - seed, y - 16) < 7) & (z > 0)
    unit = np.clip(np.where(label, 0.8, 0.2) + generator.normal(0, 0.05, label.shape), 0, 1)
    if dtype == "float32":
        return (unit * 8.19 - 1.35).astype(np.float32), label.astype(np.uint8)
    top = {"uint16": 65_535, "int32": 2_000_000, "int16": 4000}[dtype]
    return np.rint(unit * top).astype(dtype), label.astype(np.uint8)


def write(folder: Path, dtype: str) -> None:
    for seed, name in enumerate(SPLIT):
        values, label = voxels(seed, dtype)
        save(folder / "raw" / "images" / f"{name}.nii.gz", values)
        save(folder / "raw" / "masks" / f"{name}.nii.gz", label)
    write_split(folder / "split.csv", SPLIT)


def prepared(folder: Path, window: tuple[float, float]) -> PreparedManifest:
    own = {
        "layout": "folders",
        "modality": "ct",
        "images": "images",
        "masks": "masks",
        "labels": {1: "vessel"},
        "windows": {"all": window},
    }
    settings = Dataset.model_validate({"source": "own", "size": SIDE, "own": own})
    given: dict[str, Any] = {"raw": folder / "raw", "split": folder / "split.csv", "output": folder / "prepared"}
    return prepare(name="mr", settings=settings, **given)


@pytest.mark.parametrize(
    ("dtype", "window", "kept"),
    [
        ("float32", (-1.35, 6.84), "float16"),
        ("float32", (-0.1, 0.1), "float16"),
        ("uint16", (0, 65_535), "uint16"),
        ("int32", (0, 2_000_000), "int32"),
        ("int16", (0, 4000), "int16"),
    ],
)
def test_the_store_holds_the_values_of_the_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, dtype: str, window: tuple[float, float], kept: str
) -> None:
    write(tmp_path, dtype)
    with caplog.at_level(logging.WARNING):
        manifest = prepared(tmp_path, window)
    store = SliceStore.open(tmp_path / "prepared", verify=True)
    assert (manifest.image.dtype, store.images.dtype) == (kept, np.dtype(kept))
    expected = np.concatenate([to_slices(voxels(seed, dtype)[0][::-1, ::-1], "axial") for seed in range(4)])
    fine = 0.002 if kept == "float16" else 0.0  # half of a step of float16 below 8
    np.testing.assert_allclose(store.images[..., 0].astype(np.float64), expected, atol=fine)
    assert "rounded" not in caplog.text
    assert "clipped" not in caplog.text
    recorded = manifest.image.intensities
    trained = np.concatenate([voxels(seed, dtype)[0].ravel() for seed in (0, 1)])
    assert recorded is not None
    assert (recorded.cases, recorded.low, recorded.high) == (2, trained.min(), trained.max())
    np.testing.assert_allclose(recorded.p50[1], np.median(trained), rtol=0.05)


@pytest.mark.parametrize(("dtype", "window"), [("float32", (-1.35, 6.84)), ("uint16", (0, 65_535))])
def test_from_the_files_to_a_mask(tmp_path: Path, dtype: str, window: tuple[float, float]) -> None:
    write(tmp_path, dtype)
    manifest = prepared(tmp_path, window)
    chosen = direct_recipe(training={"steps": 4})
    model = run(tmp_path, tmp_path / "run", chosen)
    export(model, tmp_path / "prepared", tmp_path / "export", Export())
    graph = read_json(tmp_path / "export" / "io.json", GraphManifest)
    assert (graph.image, graph.inputs[0].dtype) == (manifest.image, "float32")
    assert json.loads((tmp_path / "export" / "parity.json").read_text())["passed"] is True
    evaluate(tmp_path / "prepared", model, tmp_path / "scores", EvaluationOptions(raw=None))

    # A file gives what its rows of the store give: the values go the same way.
    file = tmp_path / "raw" / "images" / "d.nii.gz"
    loaded = sdseg.load(tmp_path / "export" / "model.onnx")
    found = loaded.predict(file)
    rows = SliceStore.open(tmp_path / "prepared").cases_of("test")[0].rows
    images = SliceStore.open(tmp_path / "prepared").images[rows]
    expected = open_model(tmp_path / "export" / "model.onnx").backend.probability(images)[:, 0]
    np.testing.assert_allclose(to_slices(found.probability[0][::-1, ::-1], "axial"), expected, atol=1e-5)
    assert found.notes == ()

    # One of another scale is noted, by the command and from Python.
    values = voxels(0, dtype)[0] * 0.05
    other = save(tmp_path / "other.nii.gz", values if dtype == "float32" else np.rint(values).astype(np.uint16))
    assert predict(tmp_path / "export" / "model.onnx", [other], tmp_path / "out") == 0
    report = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert "another scale than the model was trained on" in json.dumps(report)
    assert "another scale" in loaded.predict(np.asarray(values), affine=LPS).notes[-1]


def test_normalised_volumes_where_others_are_expected_are_a_problem(tmp_path: Path) -> None:
    write(tmp_path, "float32")
    values, _ = voxels(0, "float32")
    save(tmp_path / "raw" / "images" / "b.nii.gz", (values - values.min()) / np.ptp(values))
    with pytest.raises(ListedError, match=r"b\.nii\.gz: values between 0 and 1: normalised"):
        prepared(tmp_path, (-175, 250))
