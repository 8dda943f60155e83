"""Hypotheses that survive export: an output of the graph, held to the model's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.backends.open_model import open_model
from sdseg.cli.commands import main
from sdseg.config.export import Export
from sdseg.core.errors import UserError
from sdseg.data.store import SliceStore
from sdseg.evaluation.evaluate import evaluate
from sdseg.export.onnx import export
from sdseg.export.parity import open_gate
from tests.helpers.annotated import prepare_annotated
from tests.helpers.models import GAUSSIAN, write_latent_model
from tests.helpers.tiny import write_model

SAMPLES = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three annotators, a model that samples, and its graph with hypotheses."""
    place = tmp_path_factory.mktemp("hypotheses")
    prepare_annotated(place, own={"labels": {1: "polyp"}})
    write_latent_model(place / "model", **GAUSSIAN, inference={"samples": SAMPLES})
    export(place / "model", place / "prepared", place / "export", Export(hypotheses=True))
    return place


def test_the_graph_gives_the_models_own_hypotheses(folder: Path) -> None:
    store = SliceStore.open(folder / "prepared")
    model, graph = open_model(folder / "model").backend, OnnxBackend(folder / "export" / "model.onnx")
    images = store.images[:3]
    ours, theirs = graph.hypotheses(images), model.hypotheses(images)  # type: ignore[attr-defined]
    assert ours.shape == (3, SAMPLES, 1, 32, 32)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose(ours.mean(axis=1), graph.probability(images), atol=1e-5)
    assert np.abs(ours[:, 0] - ours[:, 1]).max() > 1e-4
    ports = json.loads((folder / "export" / "io.json").read_text("utf-8"))["outputs"]
    assert [(port["name"], port["axes"]) for port in ports] == [
        ("probability", ["batch", 1, 32, 32]),
        ("hypotheses", ["batch", SAMPLES, 1, 32, 32]),
    ]
    parity = json.loads((folder / "export" / "parity.json").read_text("utf-8"))
    assert 0 <= parity["checks"][0]["hypotheses_difference"] < 1e-3


def test_evaluation_of_the_graph_has_them(folder: Path, tmp_path: Path) -> None:
    evaluate(folder / "prepared", folder / "export" / "model.onnx", tmp_path / "graph")
    evaluate(folder / "prepared", folder / "model", tmp_path / "model")
    records = [json.loads((tmp_path / name / "summary.json").read_text("utf-8")) for name in ("graph", "model")]
    assert records[0]["annotators"]["hypotheses"] == SAMPLES
    distance, expected = (one["annotators"]["metrics"]["energy_distance"]["mean"] for one in records)
    assert distance == pytest.approx(expected, abs=0.02)  # a pixel may sit on the threshold


def test_hypotheses_that_differ_close_the_gate(folder: Path) -> None:
    gate = open_gate(folder / "model", folder / "prepared", Export(hypotheses=True))

    class Shifted(OnnxBackend):
        def hypotheses(self, images: np.ndarray) -> np.ndarray:
            return super().hypotheses(images)[:, ::-1]

    assert gate.judge(OnnxBackend(folder / "export" / "model.onnx")).passed
    parity = gate.judge(Shifted(folder / "export" / "model.onnx"))
    assert not parity.passed
    assert [problem for problem in parity.problems if problem.startswith("a hypothesis differs by up to")]


def test_a_recipe_without_noise_has_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"starts from no noise: it has one answer .* no hypotheses"):
        export(write_model(tmp_path / "unet"), folder / "prepared", tmp_path / "e", Export(hypotheses=True))
    assert not (tmp_path / "e").exists()


def test_settings_of_several_recipes_pass_over_those_without_noise(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, output, settings = write_model(tmp_path / "unet"), tmp_path / "export", tmp_path / "export.yaml"
    settings.write_text("{hypotheses: true, parity_cases: 1}")
    arguments = ["export", "--model", model, "--prepared", folder / "prepared", "--output", output]
    words = [*map(str, arguments), "--settings", str(settings)]
    assert main([*words, "--hypotheses"]) == 2  # of this very model
    assert not output.exists()
    with caplog.at_level("INFO"):
        assert main(words) == 0
    assert "'unet' is exported without the hypotheses of the settings: the recipe starts from no noise" in caplog.text
    ports = json.loads((output / "io.json").read_text("utf-8"))["outputs"]
    assert [port["name"] for port in ports] == ["probability"]
