"""Post-processing, from the recipe to every place where masks are made: all by the model's own rule."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from sdseg.artifacts.manifests import GraphManifest, ModelManifest
from sdseg.backends.open_model import open_model
from sdseg.backends.torch import TorchBackend
from sdseg.config.dataset import Dataset
from sdseg.config.export import Export, Tolerance
from sdseg.config.inference import Inference, Postprocessing
from sdseg.core.files import read_json
from sdseg.data.batches import slice_batches
from sdseg.data.mask_rule import MaskRule
from sdseg.data.prepare import prepare
from sdseg.data.store import SliceStore
from sdseg.evaluation.evaluate import EvaluationOptions, evaluate, evaluate_masks
from sdseg.evaluation.studies.stability import stability
from sdseg.evaluation.studies.studied_model import Scope, bar, mean_scores, open_subject
from sdseg.export.onnx import export
from sdseg.export.parity import compare
from sdseg.export.tracing import export_graph
from sdseg.inference.predict import PredictOptions, predict
from sdseg.training.choose_postprocessing import settle_postprocessing
from tests.helpers.networks import direct_recipe
from tests.helpers.own_files import report
from tests.helpers.raw_files import save, write_series, write_split
from tests.helpers.tiny import CT, RGB, Brightness, describe, picture, write_store
from tests.helpers.training import run

OWN = {"layout": "nnunet", "modality": "ct", "windows": {"w": [-175, 250]}}
SETTINGS = Dataset.model_validate({"source": "own", "own": OWN, "size": 32})
BOTH = Postprocessing(largest_component=True, fill_holes=True)
SPLIT = {"a": "train", "b": "test", "c": "test", "d": "val"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans 50 × 40 × 9: a bright ball with a dark core, and a bright ball apart that is no part of the label."""
    raw = tmp_path_factory.mktemp("raw é")
    x, y, z = np.mgrid[:50, :40, :9]
    for number, case in enumerate(SPLIT):
        inside = np.sqrt(((x - 20) / 14) ** 2 + ((y - 18 - number) / 12) ** 2 + ((z - 4) / 3.5) ** 2)
        apart = np.hypot(np.hypot(x - 44, y - 34), z - 4) < 4
        bright = ((inside < 1) & (inside > 0.35)) | apart
        voxels = np.where(bright, 200.0, -100.0) + np.random.default_rng(number).normal(0, 5, x.shape)
        affine = np.diag([-1.0, -1.0, 2.0, 1.0])
        save(raw / "imagesTr" / f"{case}_0000.nii.gz", voxels.astype(np.int16), affine)
        save(raw / "labelsTr" / f"{case}.nii.gz", (inside < 1).astype(np.uint8), affine)
    described = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "ball": 1}, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    return raw


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, raw: Path) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    split = write_split(folder / "split.csv", SPLIT)
    prepare(name="balls", settings=SETTINGS, raw=raw, split=split, output=folder / "prepared")
    return folder / "prepared"


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory, store: Path) -> dict[str, Path]:
    folder, held = tmp_path_factory.mktemp("graphs"), SliceStore.open(store).manifest
    found = {}
    for name, wanted in (("none", Postprocessing()), ("both", BOTH)):
        described = describe(held.image, held.structures).model_copy(update={"postprocessing": wanted})
        export_graph(Brightness(held.image), described, folder / f"{name}.onnx")
        found[name] = folder / f"{name}.onnx"
    return found


def scored(store: Path, model: Path, output: Path, **more: Any) -> dict[str, Any]:
    evaluate(store, model, output, EvaluationOptions(settings=SETTINGS, **more))
    found: dict[str, Any] = json.loads((output / "summary.json").read_text("utf-8"))
    return found


def test_predict_and_evaluate_mend_alike(
    raw: Path, store: Path, graphs: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = [raw / "imagesTr" / f"{case}_0000.nii.gz" for case in ("b", "c")]
    with caplog.at_level(logging.WARNING):
        assert predict(graphs["both"], images, tmp_path / "both", options=PredictOptions(probability=True)) == 0
    assert "probabilities are written as they were before that" in caplog.text
    assert predict(graphs["none"], images, tmp_path / "none", options=PredictOptions(probability=True)) == 0
    mended, plain = report(tmp_path / "both"), report(tmp_path / "none")
    assert mended["postprocessing"] == BOTH.model_dump()
    for one, other in zip(mended["inputs"], plain["inputs"], strict=True):
        found, before = (
            np.asarray(nib.load(tmp_path / place / each["outputs"]["mask"]).dataobj) > 0
            for place, each in (("both", one), ("none", other))
        )
        # By SciPy alone, from the file without post-processing.
        parts, _ = ndimage.label(before, np.ones((3, 3, 3)))
        expected = ndimage.binary_fill_holes(parts == np.bincount(parts[parts > 0]).argmax())
        np.testing.assert_array_equal(found, expected)
        assert one["pixels"]["ball"] == found.sum() != before.sum()
        assert one["rule"] == asdict(MaskRule(largest_component=True, fill_holes=True))
        told, untold = (
            np.asarray(nib.load(tmp_path / place / each["outputs"]["probability"]).dataobj)
            for place, each in (("both", one), ("none", other))
        )
        np.testing.assert_array_equal(told, untold)
    # Evaluation of the model and of the files it wrote: one Dice.
    of_model = scored(store, graphs["both"], tmp_path / "model", raw=raw)
    evaluate_masks(store, tmp_path / "both", "files", tmp_path / "files", EvaluationOptions(raw=raw, settings=SETTINGS))
    of_files = json.loads((tmp_path / "files" / "summary.json").read_text("utf-8"))
    assert of_model["postprocessing"] == BOTH.model_dump()
    assert of_files["postprocessing"] is None
    assert of_model["dice"] == of_files["dice"]
    assert of_model["dice"]["mean"] > scored(store, graphs["none"], tmp_path / "plain", raw=raw)["dice"]["mean"] + 0.02


def test_segmentation_objects_hold_what_is_left(graphs: dict[str, Path], tmp_path: Path) -> None:
    """A bright block with a hole inside, and one apart: of a DICOM series, read back by pydicom."""
    voxels = np.full((32, 28, 7), -100, np.int16)
    voxels[6:20, 6:20, 1:6] = 200
    voxels[11:15, 11:15, 3] = -100
    voxels[25:29, 22:26, 2:5] = 200
    study = {"t0020_000d": "1.2.826.0.1.3680043.2.1125.9", "t0020_0052": "1.2.826.0.1.3680043.2.1125.8"}
    write_series(tmp_path / "series", voxels, **study, t0020_0011="4", t0010_0020="patient 7")
    found = {}
    for name, graph in graphs.items():
        assert predict(graph, [tmp_path / "series"], tmp_path / name) == 0
        (one,) = report(tmp_path / name)["inputs"]
        frames = pydicom.dcmread(tmp_path / name / one["outputs"]["mask"]).pixel_array > 0
        assert one["pixels"]["ball"] == frames.sum()
        found[name] = frames
    parts, count = ndimage.label(found["none"], np.ones((3, 3, 3)))
    assert count == 2
    expected = ndimage.binary_fill_holes(parts == np.bincount(parts[parts > 0]).argmax())
    assert found["both"].sum() == expected.sum() != found["none"].sum()


def test_studies_and_parity_mend_too(store: Path, graphs: dict[str, Path], tmp_path: Path) -> None:
    means = {}
    for name, path in graphs.items():
        subject = open_subject(store, path, Scope(batch=4))
        with bar(subject.slices, "test") as progress:
            means[name] = mean_scores(subject, subject.served.backend, progress, timed=False).dice
        assert stability(subject, 2).dice[0] == pytest.approx(means[name])
        batches = slice_batches(subject.store, subject.cases, (1, 2, 3, 5))
        wide = Tolerance(max_abs_difference=1, max_mean_difference=1, max_dice_difference=1, min_mask_dice=0)
        reference = TorchBackend(Brightness(subject.served.image), subject.served.image)
        parity = compare(reference, subject.served.backend, batches, subject.served.rule, wide)
        assert parity.dice_exported == pytest.approx(means[name])
        assert parity.mask_dice == pytest.approx(1.0)
        working = scored(store, path, tmp_path / name)["dice"]["mean"]
        assert working == pytest.approx(means[name])
    assert means["both"] > means["none"] + 0.02


def test_images_are_mended_one_by_one(tmp_path: Path) -> None:
    described = describe(RGB).model_copy(update={"postprocessing": BOTH})
    export_graph(Brightness(RGB), described, tmp_path / "graph.onnx")
    image, label = picture(RGB, 1, size=32)
    y, x = np.argwhere(label).mean(axis=0).astype(int)
    image[y - 2 : y + 2, x - 2 : x + 2] = 0  # a hole
    image[:4, :4] = 255  # a part of its own
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image[..., ::-1])
    assert predict(tmp_path / "graph.onnx", [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out") == 0
    masks = [cv2.imread(str(tmp_path / "out" / f"{name}_mask.png"), 0) > 0 for name in ("a", "b")]
    np.testing.assert_array_equal(*masks)
    assert not masks[0][:6, :6].any()
    assert masks[0][y - 2 : y + 2, x - 2 : x + 2].all()


# How it is settled


class Holed(nn.Module):
    """Finds what is bright but for a hole in the middle of the image, and a corner beside."""

    noise_shape = None
    sliding_window = None

    def __init__(self, *, hole: bool, corner: bool) -> None:
        super().__init__()
        self.hole, self.corner = hole, corner

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        found = (image[..., 0].float() > 128).float().unsqueeze(1)
        found = torch.nn.functional.avg_pool2d(found, 3, 1, 1).round()
        if self.hole:
            found[..., 14:18, 14:18] = 0
        if self.corner:
            found[..., :5, :5] = 1
        return found


@pytest.mark.parametrize(
    ("module", "chosen"),
    [
        (Holed(hole=False, corner=False), Postprocessing()),  # all alike: the one that does least
        (Holed(hole=True, corner=False), Postprocessing(fill_holes=True)),
        (Holed(hole=False, corner=True), Postprocessing(largest_component=True)),
        (Holed(hole=True, corner=True), BOTH),
    ],
)
def test_auto_takes_the_best_on_validation(tmp_path: Path, module: Holed, chosen: Postprocessing) -> None:
    store = SliceStore.open(write_store(tmp_path / "store", cases={"train": (1,), "val": (1, 1, 1), "test": (1,)}))
    manifest = ModelManifest.model_construct(image=RGB, recipe={}, exclusive=False)
    settled = settle_postprocessing(manifest, module, store, Inference(postprocessing="auto"), "cpu")  # type: ignore[arg-type]
    assert settled.postprocessing == chosen
    told = settled.postprocessing_chosen
    assert told is not None
    assert (told.split, told.n_cases) == ("val", 3)
    assert set(told.dice) == {"none", "largest_component", "fill_holes", "largest_component and fill_holes"}
    assert max(told.dice.values()) == told.dice[" and ".join(k for k, v in chosen.model_dump().items() if v) or "none"]


def test_training_settles_it_and_export_hands_it_on(tmp_path: Path) -> None:
    prepared = write_store(tmp_path / "prepared", cases={"train": (1,) * 4, "val": (1, 1), "test": (1, 1)})
    place = tmp_path / "run"
    model = run(tmp_path, place, direct_recipe(inference={"postprocessing": "auto"}))
    trained = read_json(model / "config.json", ModelManifest)
    assert trained.postprocessing_chosen is not None
    weights = (model / "weights.safetensors").read_bytes()
    # Another wish trains nothing: the models are written again with it.
    run(tmp_path, place, direct_recipe(inference={"postprocessing": {"fill_holes": True}}))
    trained = read_json(model / "config.json", ModelManifest)
    assert (trained.postprocessing, trained.postprocessing_chosen) == (Postprocessing(fill_holes=True), None)
    assert (model / "weights.safetensors").read_bytes() == weights
    export(model, prepared, tmp_path / "export", Export())
    assert read_json(tmp_path / "export" / "io.json", GraphManifest).postprocessing == Postprocessing(fill_holes=True)
    assert open_model(tmp_path / "export" / "model.onnx").rule == MaskRule(fill_holes=True)
    assert open_model(model).rule == MaskRule(fill_holes=True)


def test_without_validation_cases_nothing_is_chosen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = SliceStore.open(write_store(tmp_path / "store", cases={"train": (1,), "test": (1,)}))
    manifest = ModelManifest.model_construct(image=RGB, recipe={}, exclusive=False)
    network = Holed(hole=True, corner=True)
    settled = settle_postprocessing(manifest, network, store, Inference(postprocessing="auto"), "cpu")  # type: ignore[arg-type]
    assert (settled.postprocessing, settled.postprocessing_chosen) == (Postprocessing(), None)
    assert "no validation cases to choose on" in caplog.text


def test_manifests_of_earlier_versions_mend_nothing() -> None:
    described = json.loads(describe(CT).model_dump_json())
    del described["postprocessing"]
    assert MaskRule.of(GraphManifest.model_validate(described)) == MaskRule()
