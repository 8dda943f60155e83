"""The 2.5-D condition from training to masks of a user's volume: at first it sees what a 2-D one sees, then more."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from sdseg.backends.open_model import open_model
from sdseg.config.export import Export
from sdseg.core.errors import UserError
from sdseg.data.slicing import from_slices
from sdseg.data.store import SliceStore
from sdseg.datasets.check_configuration import configure
from sdseg.evaluation.evaluate import evaluate
from sdseg.evaluation.studies.robustness import KINDS, CorruptedImages
from sdseg.evaluation.studies.studied_model import Scope, open_subject
from sdseg.export.onnx import export
from sdseg.inference.predict import PredictOptions, predict
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.latent_segmenter import LatentSegmenter, start_from_codec
from sdseg.models.start_from import open_start, take_over
from sdseg.training.codec import build_codec
from tests.helpers.latencies import measured
from tests.helpers.models import write_latent_model
from tests.helpers.networks import AUTOENCODER, CLASSIC, CODEC, codec, quick_recipe, recipe
from tests.helpers.own_files import report
from tests.helpers.raw_files import write_series
from tests.helpers.tiny import CT, write_store
from tests.helpers.training import run

SEES = {"network": {"condition": {"neighbours": 1}}}
SEEING = CT.model_copy(update={"neighbours": 1})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of CT volumes, and a model of two steps that sees one neighbour on each side, with its graph."""
    place = tmp_path_factory.mktemp("volumes")
    write_store(place / "prepared", CT, cases={"train": (4, 3), "val": (2,), "test": (3, 2)})
    build_codec(settings=CODEC, output=place / "codec")
    short = {"training": {"steps": 2, "validate_every": 2, "checkpoint_every": 2, "augmentation": "intensity"}}
    small = {"architecture": "unet", "block_out_channels": [4, 6]}  # few operators to trace
    run(place, place / "run", recipe(network={"condition": {**CLASSIC, "neighbours": 1}, "denoiser": small}, **short))
    export(place / "run" / "model", place / "prepared", place / "export", Export())
    return place


@pytest.mark.parametrize("condition", [AUTOENCODER, CLASSIC], ids=["autoencoder", "classic"])
def test_weights_it_starts_from_see_the_slice_itself_alone(condition: dict[str, object], tmp_path: Path) -> None:
    flat = write_latent_model(tmp_path / "flat", CT, network={"condition": condition})
    own = quick_recipe(network={"condition": {**condition, "neighbours": 1}})
    segmenter = build_segmenter(own, SEEING, 1, CODEC, 0.7).eval()
    assert isinstance(segmenter, LatentSegmenter)
    start = open_start(own, flat)
    assert start is not None
    trained = open_model(flat).backend._forward  # type: ignore[attr-defined]
    segmenter.decoder.load_state_dict(trained.decoder.state_dict())  # it is frozen, and must be the same
    take_over(segmenter, start)
    images = np.random.default_rng(0).integers(-200, 300, (2, 32, 32, 3)).astype(np.int16)
    ours = segmenter(torch.from_numpy(images.astype(np.float32))).detach().numpy()
    np.testing.assert_allclose(ours, open_model(flat).backend.probability(images[..., 1:2]), atol=1e-5)
    if condition is AUTOENCODER:  # so does the codec's encoder
        start_from_codec(segmenter, codec())
        first = segmenter.condition_encoder.encoder.conv_in.weight  # type: ignore[union-attr]
        assert first.shape[1] == 9
        torch.testing.assert_close(first[:, 3:6], codec().autoencoder.encoder.conv_in.weight)
        assert not first[:, :3].any()
        assert not first[:, 6:].any()


def test_graph_and_evaluation_have_them(place: Path) -> None:
    port = json.loads((place / "export" / "io.json").read_text("utf-8"))
    assert port["inputs"][0]["axes"] == ["batch", 32, 32, 3]
    assert (port["image"]["channels"], port["image"]["neighbours"]) == (1, 1)
    assert json.loads((place / "export" / "parity.json").read_text("utf-8"))["passed"]
    evaluate(place / "prepared", place / "run" / "model", place / "scores")
    dice = json.loads((place / "scores" / "summary.json").read_text("utf-8"))["working"]["metrics"]["dice"]["mean"]
    served = open_model(place / "run" / "model")
    store = SliceStore.open(place / "prepared").with_neighbours(1)
    expected = []
    for case in store.cases_of("test"):
        found = served.backend.probability(store.images[case.rows])[:, 0] > served.rule.threshold
        label = store.masks[case.rows] == 1
        expected.append(2 * (found & label).sum() / max(found.sum() + label.sum(), 1))
    assert dice == pytest.approx(np.mean(expected), abs=1e-6)
    folders = {"model": place / "run" / "model", "export": place / "export", "evaluation": place / "scores"}
    assert measured(place / "results", place / "prepared", **folders)["gflop"] > 0


def test_harmed_slices_are_harmed_before_they_are_seen(place: Path) -> None:
    subject = open_subject(place / "prepared", place / "run" / "model", Scope())
    harmed = CorruptedImages(subject.store.slices, subject.cases, KINDS[0], 0.4, CT)
    seen = subject.on(harmed).store  # type: ignore[arg-type]
    first, second = subject.cases[0].start, subject.cases[0].start + 1
    np.testing.assert_array_equal(seen.images[first][..., 2], seen.images[second][..., 1])


def test_masks_of_volumes_and_series(place: Path, tmp_path: Path) -> None:
    store = SliceStore.open(place / "prepared").with_neighbours(1)
    case = store.cases_of("test")[0]
    voxels = from_slices(store.slices[case.rows][..., 0], "axial")
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 5.0, 1.0])), tmp_path / "ct.nii")
    expected = open_model(place / "run" / "model").backend.probability(store.images[case.rows])[:, 0]
    wanted = PredictOptions(probability=True)
    for name, model in (("model", place / "run" / "model"), ("graph", place / "export" / "model.onnx")):
        assert predict(model, [tmp_path / "ct.nii"], tmp_path / name, "cpu", wanted) == 0
        found = nib.load(tmp_path / name / "ct_probability.nii.gz").get_fdata()
        np.testing.assert_allclose(found, from_slices(expected, "axial"), atol=1e-4)
    series = write_series(tmp_path / "series", np.asarray(voxels, np.int16), t0020_000d="1.2.826.0.1.3680043.2.1125.9")
    assert predict(place / "export" / "model.onnx", [series], tmp_path / "seg", "cpu", wanted) == 0
    one = nib.Nifti1Image(voxels[..., :1], np.diag([2.0, 2.0, 5.0, 1.0]))
    nib.save(one, tmp_path / "one.nii")
    assert predict(place / "export" / "model.onnx", [tmp_path / "one.nii"], tmp_path / "alone", "cpu") == 0
    assert any(note.startswith("a single slice") for note in report(tmp_path / "alone")["inputs"][0]["notes"])


def test_where_there_are_none(place: Path, tmp_path: Path) -> None:
    write_store(tmp_path / "prepared")  # images
    with pytest.raises(UserError, match="every case of these data is a single image or slice"):
        run(place, tmp_path / "run", recipe(**SEES), prepared=tmp_path / "prepared")
    with pytest.raises(ValueError, match="'trainable: false' freezes it"):
        recipe(network={"condition": {"neighbours": 1, "trainable": False}})
    data = {
        "datasets": {"kseg": {"source": "kseg", "size": 256}},
        "recipes": {"sdseg": {"file": "config/recipes/sdseg.yaml", "overrides": SEES}},
        "codecs": {"kl-f8": {"weights": "vae"}},
    }
    with pytest.raises(UserError, match="'sdseg' sees 1 slices on each side, and 'kseg' is a dataset of images"):
        configure(data, where="my.yaml")
