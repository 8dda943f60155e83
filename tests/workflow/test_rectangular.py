"""Images that are not square, stage by stage: nothing squeezes them, and every runtime agrees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sdseg.artifacts.image_contract import ImageContract
from sdseg.backends.open_model import open_model
from sdseg.config.codec import CodecTraining
from sdseg.config.dataset import Dataset
from sdseg.config.export import Export
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.core.settings import parse
from sdseg.data.augmentation import StrongAugmentation
from sdseg.data.batches import check_store, slice_batches
from sdseg.data.mask_rule import MaskRule
from sdseg.data.native_labels import NativeLabels
from sdseg.data.prepare import prepare
from sdseg.data.quick_augmentation import QuickAugmentation
from sdseg.data.store import SliceStore
from sdseg.data.training_samples import orientations_of
from sdseg.datasets.mask_values import MaskCoding
from sdseg.evaluation.evaluator import Evaluator, ScoringRules
from sdseg.export.onnx import export
from sdseg.export.triton import export_triton
from sdseg.inference.predictor import load_predictor
from sdseg.sizing.training_needs import Shape, training_needs
from sdseg.training.codec_samples import CodecSamples
from tests.helpers.installed import needs_openvino
from tests.helpers.networks import CODEC, direct_recipe, recipe
from tests.helpers.raw_files import encode, write_split
from tests.helpers.tiny import RGB, picture, write_model, write_store
from tests.helpers.training import run, write_inputs

WIDE = RGB.model_copy(update={"size": (16, 48)})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of wide images, an untrained model of them and its graph."""
    folder = tmp_path_factory.mktemp("wide é")
    write_store(folder / "prepared", WIDE)
    write_model(folder / "model", WIDE)
    export(folder / "model", folder / "prepared", folder / "export", Export())
    return folder


def test_the_graph_has_both_sides_and_every_runtime_gives_the_same(exported: Path) -> None:
    manifest = json.loads((exported / "export" / "io.json").read_text("utf-8"))
    assert manifest["image"]["size"] == [16, 48]
    assert manifest["inputs"][0]["axes"] == ["batch", 16, 48, 3]
    assert json.loads((exported / "export" / "parity.json").read_text("utf-8"))["passed"] is True
    images = np.stack([picture(WIDE, seed)[0] for seed in range(2)])
    theirs = open_model(exported / "model").backend.probability(images)
    assert theirs.shape == (2, 1, 16, 48)
    np.testing.assert_allclose(
        open_model(exported / "export" / "model.onnx").backend.probability(images), theirs, atol=1e-4
    )
    with pytest.raises(UserError, match=r"wants \(N, 16, 48, 3\)"):
        open_model(exported / "model").backend.probability(images.swapaxes(1, 2))


@needs_openvino
def test_openvino_takes_them_too(exported: Path) -> None:
    images = picture(WIDE, 4)[0][None]
    ours, theirs = (
        open_model(exported / "export" / "model.onnx", device).backend.probability(images)
        for device in ("openvino", "cpu")
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_triton_is_told_both_sides(exported: Path, tmp_path: Path) -> None:
    export_triton(exported / "export", tmp_path / "triton")
    (config,) = (tmp_path / "triton").rglob("config.pbtxt")
    text = config.read_text("utf-8")
    assert "dims: [ 16, 48, 3 ]" in text
    assert "dims: [ 1, 16, 48 ]" in text


def test_predictions_and_scores_are_at_the_native_size(exported: Path) -> None:
    found = load_predictor(exported / "export" / "model.onnx", "cpu").predict(picture(RGB, 3, size=40)[0][:25])
    assert found.mask.shape == (25, 40)
    assert not any("squeezed" in note for note in found.notes)
    store = SliceStore.open(exported / "prepared", verify=True)
    served = open_model(exported / "model")
    cases = check_store(store, served.path, served.image, served.structures, "test")
    (first, *_) = Evaluator(served.backend.probability, store, ScoringRules(MaskRule(), 1.0)).run(cases, 2)
    assert first.working.pixels.labelled.sum() > 0
    assert next(iter(slice_batches(store, cases, 2))).images.shape == (2, 16, 48, 3)


@pytest.mark.parametrize("latent", [True, False])
def test_training_takes_them_and_turns_them_by_no_right_angle(
    latent: bool, tmp_path: Path, exported: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    training = {"steps": 1, "validate_every": 1, "augmentation": "dihedral"}
    chosen = recipe(training=training) if latent else direct_recipe(training=training)
    ready = write_inputs(tmp_path) if latent else tmp_path
    model = run(ready, tmp_path / "run", chosen, prepared=exported / "prepared")
    assert open_model(model).image.size == (16, 48)
    assert "16 × 48 pixels are mirrored, and not turned by 90°: 4 orientations in the place of 8" in caplog.text


def test_orientations_and_shapes_of_codecs_keep_the_sides(exported: Path) -> None:
    assert orientations_of("dihedral", (16, 48)) == (0, 1, 2, 3)
    assert len(orientations_of("dihedral", (16, 16))) == 8
    training = CodecTraining.model_validate({"data": "dataset", "steps": 1, "batch": 6, "shapes": 0.5})
    samples = CodecSamples(SliceStore.open(exported / "prepared"), "mask", training)
    masks = samples.draw(np.random.default_rng(0))
    assert masks.shape == (6, 1, 16, 48)
    assert set(np.unique(masks)) == {0, 1}


@pytest.mark.parametrize("strong", [True, False])
def test_augmentation_moves_image_and_mask_together(strong: bool) -> None:
    image, label = _shown(WIDE)
    augment = StrongAugmentation(WIDE) if strong else QuickAugmentation(WIDE, affine=True)
    overlaps = []
    for seed in range(6):
        changed, masks = augment(image, (label == 1)[None], seed)
        assert (changed.shape, masks.shape) == (image.shape, (1, 16, 48))
        bright = changed.mean(axis=2) > (changed.min() + changed.max()) / 2
        overlaps.append(2 * (bright & masks[0]).sum() / (bright.sum() + masks[0].sum()))
    assert np.mean(overlaps) > 0.8


def _shown(image: ImageContract) -> tuple[AnyArray, AnyArray]:
    """An image that is its mask."""
    _, label = picture(image, 3)
    return np.repeat(label[..., None] * np.uint8(255), 3, axis=2), label


def test_preparation_keeps_the_aspect_of_wide_images(tmp_path: Path) -> None:
    raw = tmp_path / "raw" / "Kvasir-SEG"
    for seed, name in enumerate("abc"):
        pixels, label = picture(WIDE, seed)
        encode(raw / "images" / f"{name}.jpg", pixels)
        encode(raw / "masks" / f"{name}.jpg", label * np.uint8(255))
    split = write_split(tmp_path / "s.csv", dict(zip("abc", ("train", "val", "test"), strict=True)))
    settings = Dataset.model_validate({"source": "kseg", "origin": "sample", "protocol": "sample", "size": [16, 48]})
    made = prepare(name="w", settings=settings, raw=tmp_path / "raw", split=split, output=tmp_path / "out")
    assert made.image.size == (16, 48)
    store = SliceStore.open(tmp_path / "out", verify=True)
    assert (store.images.shape, store.masks.shape) == ((3, 16, 48, 3), (3, 16, 48))
    assert json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))["image"]["size"] == [16, 48]
    coding = MaskCoding((0, 255), (0, 1), (127,))
    labels = NativeLabels(store, tmp_path / "raw", coding).read(store.cases[0])
    assert np.mean(labels[0] == picture(WIDE, 0)[1]) > 0.95  # JPEG blurs the outline


def test_estimates_follow_the_pixels() -> None:
    whole, wide = (training_needs(direct_recipe(), None, Shape(size), cuda=False) for size in (256, (128, 256)))
    assert wide.step_flops == pytest.approx(whole.step_flops / 2, rel=1e-6)
    assert wide.parameters == whole.parameters


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (
            [16],
            r"size: a number of pixels from 16 to 8192 is .*or two: \[height, width\]; or auto \(got \[16\]\)",
        ),
        ("large", "a number of pixels from 16"),
        ([64, 8], "a number of pixels from 16 to 8192"),
        ([64, 64.5], "a number of pixels from 16"),
    ],
)
def test_what_is_no_size_is_refused_in_one_message(size: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        parse(Dataset, {"source": "kseg", "size": size}, where="d.yaml")
    assert "1 problem(s)" in str(raised.value)


def test_sizes_that_do_not_divide_come_with_the_nearest_that_do() -> None:
    from sdseg.config.image_size import check_size

    network = direct_recipe(network={"channels": [4, 4, 4, 4, 4]}).network
    with pytest.raises(UserError, match="size 104 × 250 cannot be halved often enough") as raised:
        check_size((104, 250), network, CODEC, "datasets.d.size")
    assert raised.value.remedy == "use size [96, 240] or [112, 256]"
    check_size((112, 256), network, CODEC, "datasets.d.size")
