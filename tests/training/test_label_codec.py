"""Codecs that learn from a prepared dataset: its label maps in one latent, and who may use them."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdseg.artifacts.image_contract import Structure
from sdseg.config.codec import Codec
from sdseg.core.errors import UserError
from sdseg.core.settings import merge
from sdseg.core.signals import Stopped
from sdseg.data.store import SliceStore, structure_masks
from sdseg.evaluation.evaluate import evaluate
from sdseg.models.codec import MaskCodec
from sdseg.models.frozen_codec import open_codec
from sdseg.models.latent_segmenter import LatentSegmenter
from sdseg.models.model_folder import load_codec_folder
from sdseg.models.start_from import new_segmenter, open_inputs
from sdseg.report.report import report
from sdseg.training.codec import build_codec
from sdseg.training.codec_samples import CodecSamples
from tests.helpers.networks import CODEC, codec, recipe
from tests.helpers.tiny import DISC_CUP, POLYP, write_store
from tests.helpers.training import heed, run

CPU = torch.device("cpu")


def settings(**training: Any) -> Codec:
    over = {"encodes": "labels", "training": {"data": "dataset", "crop": 16, **training}}
    return Codec.model_validate(merge(CODEC.model_dump(mode="json"), over))


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eyes é") / "prepared"
    return write_store(folder, structures=DISC_CUP, cases={"train": (1,) * 4, "val": (1,), "test": (1,)})


def test_it_learns_its_dataset_and_nested_structures_stay_nested(eyes: Path, tmp_path: Path) -> None:
    build_codec(settings=settings(steps=1), output=tmp_path / "a", prepared=eyes)
    weighted = settings(steps=100, learning_rate=4e-3, shapes=0.25, class_weights="inverse_frequency", dice_weight=1.0)
    build_codec(settings=weighted, output=tmp_path / "b é", prepared=eyes)
    _, before = load_codec_folder(tmp_path / "a")
    trained, after = load_codec_folder(tmp_path / "b é")
    assert after.dice > before.dice + 0.3
    assert (after.dataset, after.split, after.structures) == ("tiny", "val", DISC_CUP)

    store = SliceStore.open(eyes)
    masks = torch.from_numpy(structure_masks(store.masks[:4], DISC_CUP))
    with torch.inference_mode():
        latents, _ = trained.moments(masks)
        decoded = trained.decode(latents)
    assert latents.shape == (4, 4, 16, 16)
    assert float(latents.std()) == pytest.approx(1.0, abs=0.01)
    assert decoded.shape == masks.shape
    assert bool((decoded[:, 1] <= decoded[:, 0]).all())


def test_a_training_that_was_ended_repeats_to_the_bit(
    eyes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(steps=4, shapes=0.5)
    build_codec(settings=chosen, output=tmp_path / "whole", prepared=eyes)
    draw, steps = CodecSamples.draw, iter(range(10))

    def ended(samples: CodecSamples, rng: np.random.Generator) -> torch.Tensor:
        if next(steps) == 1:
            signal.raise_signal(signal.SIGTERM)
        return draw(samples, rng)

    monkeypatch.setattr(CodecSamples, "draw", ended)
    heed(signal.SIGTERM)
    with pytest.raises(Stopped, match="stopped after step 2 of 4"):
        build_codec(settings=chosen, output=tmp_path / "ended", prepared=eyes)
    torch.manual_seed(99)
    build_codec(settings=chosen, output=tmp_path / "ended", prepared=eyes)
    one, other = ((tmp_path / name / "codec.safetensors").read_bytes() for name in ("whole", "ended"))
    assert one == other


def test_weights_of_classes_are_how_much_rarer_they_are(eyes: Path) -> None:
    store = SliceStore.open(eyes)
    chosen = settings(class_weights="inverse_frequency", class_weight_cap=9.0).training
    assert chosen is not None
    pixels = np.bincount(np.concatenate([store.masks[row].ravel() for row in store.rows_of("train")]))
    weights = CodecSamples(store, "labels", chosen).class_weights()
    assert weights is not None
    np.testing.assert_allclose(weights, np.minimum(pixels.max() / pixels, 9.0), rtol=1e-6)


def test_of_one_structure_the_pretrained_codec_is_taken_and_of_several_its_inner_layers(
    eyes: Path, tmp_path: Path
) -> None:
    source = codec(seed=4)
    source.autoencoder.save_pretrained(tmp_path / "kl", safe_serialization=True)
    chosen = settings(steps=1, learning_rate=1e-9).model_copy(update={"weights": str(tmp_path / "kl")})
    polyps = write_store(tmp_path / "polyps")
    taken = {}
    for name, data in {"one": polyps, "two": eyes}.items():
        build_codec(settings=chosen, output=tmp_path / name, prepared=data)
        taken[name], _ = load_codec_folder(tmp_path / name)
    assert taken["one"].settings.encodes == "mask"
    theirs = source.autoencoder.state_dict()
    for key, value in taken["one"].autoencoder.state_dict().items():
        assert torch.equal(value, theirs[key])
    for key, value in taken["two"].autoencoder.state_dict().items():
        if "conv_in" not in key.removeprefix("decoder.") and "conv_out" not in key.removeprefix("encoder."):
            torch.testing.assert_close(value, theirs[key], rtol=0.0, atol=1e-6)
    joint = recipe(network={"classes": "joint"})
    assert open_codec(joint, tmp_path / "one", CPU, SliceStore.open(polyps)) is not None


def test_a_dataset_is_named_where_it_is_wanted_and_nowhere_else(eyes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"this codec is trained on a dataset.*(?s:.)*--prepared"):
        build_codec(settings=settings(), output=tmp_path / "codec")
    with pytest.raises(UserError, match="this codec learns nothing from a dataset"):
        build_codec(settings=CODEC, output=tmp_path / "codec", prepared=eyes)
    with pytest.raises(UserError, match="learns on windows of 48 pixels, and the images have 32"):
        build_codec(settings=settings(crop=48), output=tmp_path / "codec", prepared=eyes)
    assert not list(tmp_path.iterdir())


def test_a_codec_of_masks_may_learn_from_a_dataset_too(eyes: Path, tmp_path: Path) -> None:
    chosen = settings(steps=1).model_copy(update={"encodes": "mask"})
    build_codec(settings=chosen, output=tmp_path / "codec", prepared=eyes)
    made, manifest = load_codec_folder(tmp_path / "codec")
    assert (made.at_once, manifest.dataset) == (1, "tiny")


def test_a_codec_of_images_gives_the_condition(eyes: Path, tmp_path: Path) -> None:
    """The condition latent is the latent of the image with its scale, and stays so: nothing of it is trained."""
    chosen = settings(steps=2).model_copy(update={"encodes": "image"})
    build_codec(settings=chosen, output=tmp_path / "images", prepared=eyes)
    build_codec(settings=settings(steps=1), output=tmp_path / "labels", prepared=eyes)
    images, manifest = load_codec_folder(tmp_path / "images")
    assert manifest.dice is None
    assert manifest.image_error is not None
    assert 0.0 < manifest.image_error < 1.0
    condition = {"codec": "images", "projection": "quant_conv", "trainable": False}
    joint = recipe(network={"classes": "joint", "condition": condition})
    inputs = open_inputs(eyes, joint, tmp_path / "labels", None, CPU, image_codec=tmp_path / "images")
    segmenter = new_segmenter(joint, inputs)
    assert isinstance(segmenter, LatentSegmenter)
    assert not any(parameter.requires_grad for parameter in segmenter.condition_encoder.parameters())
    image = segmenter.normaliser(torch.from_numpy(np.array(inputs.store.images[:2])))
    with torch.inference_mode():
        latent, _ = segmenter.eval().condition_encoder(image)
        expected = images.autoencoder.encode(image).latent_dist.mean * images.scale
    torch.testing.assert_close(latent, expected, rtol=1e-4, atol=1e-5)

    with pytest.raises(UserError, match=r"needs the codec of images 'images'(?s:.)*--image-codec"):
        open_inputs(eyes, joint, tmp_path / "labels", None, CPU)
    with pytest.raises(UserError, match=r"a codec of images is expected, and this one has 'encodes: labels'"):
        open_inputs(eyes, joint, tmp_path / "labels", None, CPU, image_codec=tmp_path / "labels")
    with pytest.raises(UserError, match=r"the codec encodes images \('encodes: image'\)"):
        open_inputs(eyes, joint, tmp_path / "images", None, CPU, image_codec=tmp_path / "images")
    plain = recipe(network={"classes": "joint"})
    with pytest.raises(UserError, match="this recipe takes nothing from a codec of images"):
        open_inputs(eyes, plain, tmp_path / "labels", None, CPU, image_codec=tmp_path / "images")


def test_codecs_that_do_not_fit_the_recipe_or_the_data(eyes: Path, tmp_path: Path) -> None:
    build_codec(settings=settings(steps=1), output=tmp_path / "labels", prepared=eyes)
    build_codec(settings=CODEC, output=tmp_path / "masks")
    joint, single = recipe(network={"classes": "joint"}), recipe()
    store = SliceStore.open(eyes)
    opened = open_codec(joint, tmp_path / "labels", CPU, store)
    assert opened is not None
    assert isinstance(opened.codec, MaskCodec)
    with pytest.raises(UserError, match=r"\('classes: joint'\), and the codec encodes one mask"):
        open_codec(joint, tmp_path / "masks", CPU, store)
    with pytest.raises(UserError, match=r"encodes a whole label map \('encodes: labels'\)"):
        open_codec(single, tmp_path / "labels", CPU, store)
    for number, others in enumerate((POLYP, (DISC_CUP[0], Structure(name="cup", values=(3,))))):
        other = SliceStore.open(write_store(tmp_path / str(number), structures=others))
        with pytest.raises(UserError, match=r"made for label maps of disc \(1\+2\), cup \(2\) .*, the data have "):
            open_codec(joint, tmp_path / "labels", CPU, other)


def test_a_training_in_one_pass_stands_on_the_page(eyes: Path, tmp_path: Path) -> None:
    build_codec(settings=settings(steps=1), output=tmp_path / "codec", prepared=eyes)
    prepared = shutil.copytree(eyes, tmp_path / "results" / "eyes" / "prepared")
    place = tmp_path / "results" / "eyes" / "tiny"
    chosen = recipe(network={"classes": "joint"}, training={"steps": 2, "validate_every": 2})
    model = run(tmp_path, place, chosen, prepared=prepared)
    evaluate(prepared, model, place / "evaluation")
    summary = json.loads((place / "evaluation" / "summary.json").read_text("utf-8"))
    report(tmp_path / "results", tmp_path / "page.html", None)
    page = (tmp_path / "page.html").read_text("utf-8")
    for name in ("disc", "cup"):
        dice = summary["structures"][name]["dice"]["mean"]
        assert f"{dice:.3f}" in page
        assert name in page
