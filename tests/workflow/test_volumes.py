"""Three-dimensional recipes from prepared volumes to masks: trained, resumed, scored whole, exported, and predicted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from benchmarks import pareto
from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.backends.open_model import open_model
from sdseg.config.export import Batches, Export
from sdseg.config.patches import SlidingWindow
from sdseg.config.recipe import Recipe, load_recipe
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.core.settings import merge
from sdseg.data.slicing import from_slices, to_slices
from sdseg.data.store import SliceStore
from sdseg.evaluation.evaluate import EvaluationOptions, evaluate, evaluate_masks
from sdseg.evaluation.studies.efficiency import counted
from sdseg.export.onnx import export
from sdseg.inference.predict import predict
from sdseg.inference.predictor import load_predictor
from sdseg.io.volumes import read_labels
from sdseg.models.model_folder import load_model
from tests.helpers.end_to_end import VOLUMES, ldseg
from tests.helpers.engines import GraphEngine
from tests.helpers.latencies import measured
from tests.helpers.prepared_sets import prepare_scans
from tests.helpers.raw_files import write_series
from tests.helpers.tiny import write_store
from tests.helpers.training import events, rewind, run

RECIPES = Path(__file__).resolve().parents[2] / "config" / "recipes"
PATCH = (8, 16, 16)  # of volumes of 9 slices of 32 × 32 pixels, 3 × 1.375 × 1.25 mm
SMALL: dict[str, Any] = {
    "network": {"channels": [4, 6, 8]},
    "patches": {"size": PATCH},
    "optimiser": {"warmup_steps": 0},
    "training": {
        "steps": 2,
        "batch": 2,
        "precision": "no",
        "validate_every": 2,
        "checkpoint_every": 1,
        "log_every": 1,
        "workers": 0,
    },
}


def small(**over: Any) -> Recipe:
    return load_recipe(RECIPES / "unet3d.yaml", merge(SMALL, over))


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw scans, their store, a model, its graph, and its scores at the native size."""
    folder = tmp_path_factory.mktemp("volumes é")
    raw, prepared = prepare_scans(folder)
    model = run(folder, folder / "run", small())
    export(model, prepared, folder / "export", Export(parity_cases=2, providers=("cpu", "openvino")))
    evaluate(prepared, model, folder / "evaluation", EvaluationOptions(raw=raw))
    return folder


def test_training_goes_on_to_the_bit(ready: Path) -> None:
    place = ready / "run"
    trained, before = load_model(place / "model")[0].state_dict(), events(place / "model", "step")
    rewind(place)
    run(ready, place, small())
    again = load_model(place / "model")[0].state_dict()
    assert [event["loss"] for event in events(place / "model", "step")] == [event["loss"] for event in before]
    assert all(torch.equal(value, again[name]) for name, value in trained.items())


def test_kernels_and_strides_follow_the_spacing_of_the_training_volumes(ready: Path) -> None:
    segmenter, manifest = load_model(ready / "run" / "model")
    assert manifest.recipe["network"]["spacing"] == [3.0, 1.375, 1.25]
    first, second = segmenter.unet.down[0].conv1.conv, segmenter.unet.down[1].conv1.conv  # type: ignore[union-attr]
    assert (first.kernel_size, second.stride) == ((1, 3, 3), (1, 2, 2))


def test_the_graph_takes_patches_and_its_metadata_the_window(ready: Path) -> None:
    described = json.loads((ready / "export" / "io.json").read_text("utf-8"))
    assert described["dimensions"] == 3
    assert described["sliding_window"] == {"size": list(PATCH), "overlap": 0.5, "blending": "gaussian"}
    assert described["image"]["spacing"] == [3.0, 1.375, 1.25]
    assert described["inputs"][0]["axes"] == ["batch", *PATCH, 1]
    checks = json.loads((ready / "export" / "parity.json").read_text("utf-8"))["checks"]
    assert [(each["backend"], each["passed"]) for each in checks] == [("onnxruntime-cpu", True), ("openvino", True)]

    segmenter, _ = load_model(ready / "run" / "model")
    patches = np.random.default_rng(0).uniform(-600, 400, (3, *PATCH, 1)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(ready / "export" / "model.onnx"), providers=["CPUExecutionProvider"])
    ours = session.run(["probability"], {"image": patches})[0]
    np.testing.assert_allclose(ours, segmenter(torch.from_numpy(patches)).numpy(), atol=1e-5)


def test_a_volume_is_what_monai_makes_of_its_patches(ready: Path) -> None:
    """Written out by hand: windows half a patch apart, the weights MONAI's."""
    from monai.data.utils import compute_importance_map

    store = SliceStore.open(ready / "prepared")
    volume = store.images[store.cases_of("test")[0].rows].astype(np.float32)  # [9,32,32,1]
    segmenter, _ = load_model(ready / "run" / "model")
    weights = compute_importance_map(PATCH, mode="gaussian", sigma_scale=0.125).numpy()
    total, count = np.zeros(volume.shape[:3]), np.zeros(volume.shape[:3])
    for z in (0, 1):
        for y in (0, 8, 16):
            for x in (0, 8, 16):
                place = (slice(z, z + 8), slice(y, y + 16), slice(x, x + 16))
                answer = segmenter(torch.from_numpy(volume[place][None])).numpy()[0, 0]
                total[place] += answer * weights
                count[place] += weights
    for model in ("run/model", "export/model.onnx"):
        found = open_model(ready / model).backend.probability(volume)[:, 0]
        np.testing.assert_allclose(found, total / count, atol=2e-5)


def test_predicted_files_are_the_masks_that_were_scored(ready: Path, tmp_path: Path) -> None:
    raw, cases = ready / "raw", SliceStore.open(ready / "prepared").cases_of("test")
    files = [raw / case.image for case in cases]
    for model, place in (("run/model", "by model"), ("export/model.onnx", "by graph")):
        assert predict(ready / model, files, tmp_path / place, "cpu") == 0
    ours, theirs = (
        {path.name: read_labels(path)[0] for path in (tmp_path / place).glob("*.nii.gz")}
        for place in ("by model", "by graph")
    )
    assert len(ours) == 3
    assert any(mask.any() for mask in ours.values())
    for name, mask in ours.items():
        np.testing.assert_array_equal(mask, theirs[name])
    evaluate_masks(ready / "prepared", tmp_path / "by model", "files", tmp_path / "scores", EvaluationOptions(raw=raw))
    scores = [
        json.loads((folder / "summary.json").read_text("utf-8"))["native"]["metrics"]["dice"]["mean"]
        for folder in (tmp_path / "scores", ready / "evaluation")
    ]
    assert scores[0] == scores[1]


def test_series_are_segmented_as_volumes_and_shallow_ones_are_told(ready: Path, tmp_path: Path) -> None:
    store = SliceStore.open(ready / "prepared")
    scan = from_slices(store.images[store.cases_of("test")[0].rows][..., 0], "axial").astype(np.int16)
    expected = open_model(ready / "run" / "model").backend.probability(to_slices(scan, "axial")[..., None])[:, 0]
    predictor = load_predictor(ready / "run" / "model", "cpu")
    found = predictor.predict(write_series(tmp_path / "series", to_lps(scan)))
    np.testing.assert_allclose(to_slices(to_lps(found.probability[0]), "axial"), expected, atol=1e-5)
    assert not any("at a time" in note for note in found.notes)
    shallow = predictor.predict(write_series(tmp_path / "shallow", to_lps(scan[..., :3])))
    assert any(note.startswith("3 slices, and the model sees 8 at a time") for note in shallow.notes)


def to_lps(scan: AnyArray) -> AnyArray:
    """From voxels along right, front and up to those of a series, along left, back and up; and back."""
    return scan[::-1, ::-1]


def test_its_latency_and_arithmetic_are_those_of_a_slice(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patches are of a whole volume: all slices of a case are measured, and shared among them."""
    calls: list[tuple[int, ...]] = []

    def in_a_second_each(subjects: list[pareto.Subject], rounds: int, *_: object) -> dict[tuple[int, str], list[float]]:
        (subject,) = subjects
        calls.extend(answer(subject.images).shape for answer in subject.answers.values())
        return {(0, name): [1.0] * rounds for name in subject.answers}

    monkeypatch.setattr(pareto, "interleaved", in_a_second_each)
    folders = {"model": ready / "run" / "model", "export": ready / "export", "evaluation": ready / "evaluation"}
    row = measured(tmp_path / "results", ready / "prepared", **folders)
    slices = SliceStore.open(ready / "prepared").cases_of("test")[0].slices
    assert set(calls) == {(slices, 1, 32, 32)}
    assert row["latency_ms"]["torch"] == pytest.approx(1000 / slices, abs=1e-3)
    assert row["gflop"] == pytest.approx(counted(folders["model"])["flops"] / 1e9, abs=1e-4)


def test_another_overlap_trains_nothing_anew(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation looks through windows of its own: another overlap leaves the weights, and which of them are best."""
    shutil.copytree(ready / "run", tmp_path / "run")
    before = events(tmp_path / "run" / "model", "validation")
    window: dict[str, Any] = {"overlap": 0.0, "blending": "constant"}
    with monkeypatch.context() as patched:
        patched.setattr("sdseg.training.train.build_run", lambda *_: pytest.fail("nothing is trained for it"))
        model = run(ready, tmp_path / "run", small(patches=window))
    weights = [(place / "weights.safetensors").read_bytes() for place in (ready / "run" / "model", model)]
    assert weights[0] == weights[1]
    assert load_model(model)[0].sliding_window == SlidingWindow(size=PATCH, **window)
    rewind(tmp_path / "run")  # and so in a training that is not finished
    run(ready, tmp_path / "run", small(patches=window))
    assert before[0]["dice"] > 0
    assert [event["dice"] for event in events(model, "validation")] == [event["dice"] for event in before]


def test_ldseg_goes_the_same_way(ready: Path, tmp_path: Path) -> None:
    """Noise of a patch is an input of its graph; the same noise for every patch, whoever computes."""
    over: dict[str, Any] = {
        "network": {"denoiser": {"block_out_channels": [8], "attention": [False]}},  # a smaller graph is sooner written
        "training": {"steps": 2, "checkpoint_every": 1},
        "inference": {"steps": 1, "samples": 2},
    }
    chosen = ldseg("ldseg3d", **merge(VOLUMES, over))
    model = run(ready, tmp_path, chosen)
    whole = (model / "weights.safetensors").read_bytes()
    rewind(tmp_path)
    assert [event["step"] for event in events(run(ready, tmp_path, chosen), "resumed")] == [1]
    assert (model / "weights.safetensors").read_bytes() == whole
    export(model, ready / "prepared", tmp_path / "export", Export(parity_cases=1, hypotheses=True))
    described = json.loads((tmp_path / "export" / "io.json").read_text("utf-8"))
    assert [each["axes"] for each in described["inputs"]] == [["batch", 8, 16, 16, 1], ["batch", 2, 4, 8, 8]]
    assert [each["axes"][1:-3] for each in described["outputs"]] == [[1], [1], [1], [2, 1]]
    (check,) = json.loads((tmp_path / "export" / "parity.json").read_text("utf-8"))["checks"]
    assert check["passed"]
    assert all(check[f"{name}_difference"] < 1e-3 for name in ("hypotheses", "variance", "entropy"))

    volume, graph = SliceStore.open(ready / "prepared").images[:5], tmp_path / "export" / "model.onnx"
    engine, session = GraphEngine(graph, Batches(min=2, opt=2, max=2)), OnnxBackend(graph)
    for name, output in engine.beside_probability(volume).items():
        np.testing.assert_allclose(output, session.beside_probability(volume)[name], atol=1e-5)
    np.testing.assert_allclose(engine.hypotheses(volume).mean(axis=1), engine.probability(volume), atol=1e-5)


@pytest.mark.parametrize(
    ("cases", "images", "patch", "message"),
    [
        ({"train": (3,), "test": (1,)}, "ct", (8, 16, 16), "patch larger than the volume.*more than 3 slices"),
        ({"train": (9,), "test": (1,)}, "ct", (8, 64, 16), "patch larger than the volume.*32 × 32 pixels"),
        ({"train": (1, 1), "test": (1,)}, "rgb", (8, 16, 16), "holds images and no volumes"),
    ],
)
def test_data_that_hold_no_such_patch_are_refused(
    tmp_path: Path, cases: dict[str, tuple[int, ...]], images: str, patch: tuple[int, ...], message: str
) -> None:
    from tests.helpers.tiny import CT, RGB

    write_store(tmp_path / "prepared", CT if images == "ct" else RGB, cases=cases)
    with pytest.raises(UserError, match=message):
        run(tmp_path, tmp_path / "run", small(patches={"size": patch}))
    assert not (tmp_path / "run" / "model").exists()
