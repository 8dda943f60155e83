"""Hypotheses that survive export: an output of the graph, held to the model's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import scipy.stats
import torch
from onnx.shape_inference import infer_shapes

from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.backends.open_model import open_model
from sdseg.cli.commands import main
from sdseg.config.export import Batches, Export
from sdseg.core.errors import ListedError, UserError
from sdseg.core.settings import parse
from sdseg.data.store import SliceStore
from sdseg.evaluation.evaluate import evaluate
from sdseg.export.onnx import export
from sdseg.export.parity import open_gate
from sdseg.export.tensorrt import EngineSource, gate_of
from sdseg.export.tracing import graph_inputs, graph_outputs
from sdseg.export.with_hypotheses import WithHypotheses
from sdseg.inference.hypotheses import hypotheses_given
from sdseg.inference.predict import PredictOptions, predict
from sdseg.training.make_ensemble import make_ensemble
from tests.export.test_tensorrt_operators import beyond
from tests.helpers.annotated import prepare_annotated
from tests.helpers.engines import GraphEngine
from tests.helpers.models import GAUSSIAN, write_latent_model
from tests.helpers.own_files import photos, report
from tests.helpers.tiny import RGB, write_model

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
        ("variance", ["batch", 1, 32, 32]),
        ("entropy", ["batch", 1, 32, 32]),
        ("hypotheses", ["batch", SAMPLES, 1, 32, 32]),
    ]
    assert beyond(infer_shapes(onnx.load(folder / "export" / "model.onnx"), data_prop=True).graph) == set()
    parity = json.loads((folder / "export" / "parity.json").read_text("utf-8"))
    assert all(0 <= parity["checks"][0][f"{name}_difference"] < 1e-3 for name in ("hypotheses", "variance", "entropy"))


def test_the_graph_says_how_far_its_hypotheses_agree(folder: Path) -> None:
    graph = OnnxBackend(folder / "export" / "model.onnx")
    images = SliceStore.open(folder / "prepared").images[:2]
    outputs = graph.beside_probability(images)
    hypotheses = outputs["hypotheses"].astype(np.float64)
    probability = hypotheses.mean(axis=1)
    pairs = [(hypotheses[:, one] - hypotheses[:, other]) ** 2 for one in range(SAMPLES) for other in range(SAMPLES)]
    np.testing.assert_allclose(outputs["variance"], np.mean(pairs, axis=0) / 2, atol=1e-5)
    by_scipy = scipy.stats.entropy(np.stack([probability, 1 - probability]), axis=0)
    np.testing.assert_allclose(outputs["entropy"], by_scipy, atol=1e-5)


def test_nothing_is_uncertain_at_the_ends(tmp_path: Path) -> None:
    class Sure(torch.nn.Module):
        def hypotheses(self, image: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
            return image.permute(0, 3, 1, 2)[:, None].expand(-1, SAMPLES, -1, -1, -1)

    ends = torch.tensor([0.0, 1.0, 0.5]).view(1, 1, 3, 1)
    probability, variance, entropy, _ = WithHypotheses(Sure())(ends)
    assert probability.flatten().tolist() == pytest.approx([0, 1, 0.5])
    assert variance.abs().max() < 1e-12
    assert entropy.flatten().tolist() == pytest.approx([0, 0, np.log(2)], abs=1e-6)
    program = torch.onnx.export(WithHypotheses(Sure()), (ends,), dynamo=True, verbose=False)
    assert program is not None
    program.save(tmp_path / "sure.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "sure.onnx")
    outputs = session.run(None, {session.get_inputs()[0].name: ends.numpy()})  # an exporter simplifies
    assert outputs[2].ravel().tolist() == pytest.approx([0, 0, np.log(2)], abs=1e-6)


def test_evaluation_of_the_graph_has_them(folder: Path, tmp_path: Path) -> None:
    evaluate(folder / "prepared", folder / "export" / "model.onnx", tmp_path / "graph")
    evaluate(folder / "prepared", folder / "model", tmp_path / "model")
    records = [json.loads((tmp_path / name / "summary.json").read_text("utf-8")) for name in ("graph", "model")]
    assert records[0]["annotators"]["hypotheses"] == SAMPLES
    distance, expected = (one["annotators"]["metrics"]["energy_distance"]["mean"] for one in records)
    assert distance == pytest.approx(expected, abs=0.02)  # a pixel may sit on the threshold


def test_a_number_of_hypotheses_is_the_models(folder: Path) -> None:
    gate = open_gate(folder / "model", folder / "prepared", Export(hypotheses=5))
    assert (gate.segmenter.samples, gate.segmenter.noise_shape) == (5, (20, 16, 16))
    assert gate.manifest.recipe["inference"]["samples"] == 5
    with pytest.raises(UserError, match="hypotheses"):
        parse(Export, {"hypotheses": 1}, where="export.yaml")


def test_a_number_that_a_member_does_not_allow_is_refused_with_its_remedy(folder: Path, tmp_path: Path) -> None:
    make_ensemble([folder / "model", write_model(tmp_path / "unet")], tmp_path / "both")
    with pytest.raises(
        ListedError, match=r"(?s)a member of this model.*'samples: 5':.*one answer.*leave the number out"
    ):
        open_gate(tmp_path / "both", folder / "prepared", Export(hypotheses=5))


def test_predict_takes_them_from_the_graph_as_from_the_model(folder: Path, tmp_path: Path) -> None:
    photos(tmp_path / "photos", 1, size=32)
    entries = []
    for model in (folder / "export" / "model.onnx", folder / "model"):
        output = tmp_path / model.name
        wanted = PredictOptions(hypotheses=True, samples=SAMPLES)  # as many as the graph has
        assert predict(model, [tmp_path / "photos"], output, "cpu", wanted) == 0
        (entry,) = report(output)["inputs"]
        entries.append([one["pixels"]["polyp"] for one in entry["hypotheses"]])
        assert entry["over_hypotheses"]["polyp"]["mean"] == pytest.approx(np.mean(entries[-1]), abs=0.06)
    np.testing.assert_allclose(*entries, atol=3)  # a pixel may sit on the threshold
    with pytest.raises(UserError, match="has its number of steps and samples built in"):
        open_model(folder / "export" / "model.onnx", samples=SAMPLES + 1)


def test_hypotheses_that_differ_close_the_gate(folder: Path) -> None:
    gate = open_gate(folder / "model", folder / "prepared", Export(hypotheses=True))

    class Changed(OnnxBackend):
        def __init__(self, **changes: Callable[[np.ndarray], np.ndarray]) -> None:
            super().__init__(folder / "export" / "model.onnx")
            self.changes = changes

        def beside_probability(self, images: np.ndarray) -> dict[str, np.ndarray]:
            outputs = super().beside_probability(images)
            return {name: self.changes.get(name, np.asarray)(output) for name, output in outputs.items()}

    assert gate.judge(Changed()).passed
    wrong = {
        "a hypothesis differs by up to": Changed(hypotheses=lambda output: output[:, ::-1]),
        "the variance differs by up to": Changed(variance=lambda output: output + 0.01),
        "the entropy differs by up to": Changed(entropy=lambda output: output * 0.9),
        "NaN or infinite probability": Changed(entropy=lambda output: output * np.nan),
    }
    for problem, backend in wrong.items():
        parity = gate.judge(backend)
        assert not parity.passed
        assert parity.problems[0].startswith(problem)


def test_an_engine_gives_every_output_of_its_graph(folder: Path) -> None:
    """All but TensorRT itself: what stands between an engine's buffers is ONNX Runtime here."""
    graph = folder / "export" / "model.onnx"
    engine, images = GraphEngine(graph, Batches(min=2, opt=2, max=3)), SliceStore.open(folder / "prepared").images[:4]
    served = replace(open_model(graph), backend=engine)
    assert (hypotheses_given(served), engine.samples) == (SAMPLES, SAMPLES)
    expected, outputs = OnnxBackend(graph).beside_probability(images), engine.beside_probability(images)
    assert list(outputs) == ["variance", "entropy", "hypotheses"]
    for name, output in outputs.items():
        np.testing.assert_allclose(output, expected[name], atol=1e-5)
    assert engine.sizes == [3, 2]  # of all outputs at once
    np.testing.assert_allclose(engine.hypotheses(images).mean(axis=1), engine.probability(images), atol=1e-5)


def test_the_gate_of_an_engine_compares_every_output_of_its_graph(folder: Path) -> None:
    """As many hypotheses as the graph has, whatever the settings say."""
    graph = folder / "export" / "model.onnx"
    engine, source = GraphEngine(graph, Batches()), EngineSource(folder / "model", graph, folder / "prepared")
    parity = gate_of(source, engine.manifest, Export(parity_cases=1)).judge(engine)
    assert parity.passed
    differences = (parity.hypotheses_difference, parity.variance_difference, parity.entropy_difference)
    assert all(difference is not None and difference < 1e-3 for difference in differences)

    ports = {"inputs": graph_inputs(RGB, (20, 16, 16)), "outputs": graph_outputs(RGB, 1, 5)}
    gate = gate_of(source, engine.manifest.model_copy(update=ports), Export())
    assert (gate.segmenter.samples, gate.settings.hypotheses) == (5, 5)


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
