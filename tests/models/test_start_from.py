"""Training starts from another model's networks, or says why it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sdseg.artifacts.manifests import ModelManifest
from sdseg.config.network import LatentNetwork
from sdseg.config.recipe import Recipe
from sdseg.core.errors import UserError
from sdseg.core.files import write_json
from sdseg.data.folds import make_folds, read_folds
from sdseg.data.store import SliceStore
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.latent_segmenter import LatentSegmenter, start_from_codec
from sdseg.models.model_folder import load_model, read_tensors, save_model
from sdseg.models.start_from import Start, open_inputs, open_start, take_over
from tests.helpers.networks import CLASSIC, CODEC, codec, direct_recipe, recipe
from tests.helpers.tiny import POLYP, RGB, write_model, write_store


def latent(chosen: Recipe, seed: int, codec_seed: int = 0, scale: float = 0.7) -> LatentSegmenter:
    torch.manual_seed(seed)
    made = build_segmenter(chosen, RGB, 1, CODEC, scale)
    assert isinstance(made, LatentSegmenter)
    assert isinstance(chosen.network, LatentNetwork)
    start_from_codec(made, codec(codec_seed, scale))
    return made


def saved(folder: Path, chosen: Recipe, seed: int = 1, scale: float = 0.7, **more: Any) -> Path:
    manifest = ModelManifest(
        dataset="tiny",
        origin="phantom",
        protocol="clean",
        recipe_name="first",
        recipe=chosen.model_dump(mode="json"),
        codec=CODEC.model_dump(mode="json"),
        latent_scale=scale,
        image=RGB,
        structures=POLYP,
        training={},
        files={},
        provenance={},
    )
    folder.mkdir(parents=True)
    save_model(folder, latent(chosen, seed, scale=scale, **more), manifest)
    return folder


def start_of(chosen: Recipe, folder: Path | None) -> Start:
    found = open_start(chosen, folder)
    assert found is not None
    return found


@pytest.mark.parametrize("weights", ["fp32", "fp16"])
def test_every_network_is_taken_over(tmp_path: Path, weights: str) -> None:
    folder = saved(tmp_path / "modèle 1", recipe(training={"weights": weights}))
    begun = latent(recipe(), seed=2)
    take_over(begun, start_of(recipe(), folder))
    found, _ = load_model(folder)
    for name in ("condition_encoder", "denoiser"):
        theirs = found.parts()[name].state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in begun.parts()[name].state_dict().items())
    original = codec().autoencoder.state_dict()  # the decoder stays the codec's, in full precision
    assert all(torch.equal(v, original[f"decoder.{k}"]) for k, v in begun.decoder.decoder.state_dict().items())


def test_images_that_the_network_cannot_take_are_refused_before_training(tmp_path: Path) -> None:
    prepared = write_store(tmp_path / "prepared")  # 32 pixels
    deep = direct_recipe(network={"architecture": "dynunet", "channels": [4] * 7})
    with pytest.raises(UserError, match="size 32 cannot be halved often enough: a multiple of 64 is needed"):
        open_inputs(prepared, deep, None, None, torch.device("cpu"))


def test_a_model_that_saw_the_cases_held_out_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prepared = write_store(tmp_path / "prepared", cases={"train": (1,) * 4, "test": (1,)})
    data, folds = SliceStore.open(prepared).manifest.data_checksum, tmp_path / "folds.csv"
    make_folds(prepared, 2, folds)
    folder = write_model(tmp_path / "first")
    _, manifest = load_model(folder)

    def begun(**training: Any) -> Start | None:
        write_json(folder / "config.json", manifest.model_copy(update={"training": training}))
        chosen = direct_recipe(start_from={"model": str(folder)})
        return open_inputs(prepared, chosen, None, None, torch.device("cpu"), (folds, 2)).start

    held = [{"number": number, "of": 2, "sha256": read_folds(folds).checksum} for number in (1, 2)]
    for seen in ({}, {"fold": held[0]}, {"fold": held[1] | {"sha256": "0"}}):
        with pytest.raises(UserError, match="was trained on cases that fold 2 of 2 holds out"):
            begun(data_checksum=data, **seen)
    assert not caplog.records
    assert begun(data_checksum=data, fold=held[1]) is not None
    assert not caplog.records
    assert begun(data_checksum="0") is not None  # of the same dataset, prepared otherwise: nobody can tell
    assert "has it seen the cases that fold 2 holds out?" in caplog.text


def test_a_model_of_the_same_data_prepared_otherwise_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Data that were split anew: it may have learnt from what the new model is tested on."""
    prepared, folder = write_store(tmp_path / "prepared"), write_model(tmp_path / "first")
    data, (_, manifest) = SliceStore.open(prepared).manifest, load_model(folder)

    def warnings(dataset: str, **training: Any) -> str:
        caplog.clear()
        changed = manifest.model_copy(update={"training": training, "dataset": dataset})
        write_json(folder / "config.json", changed)
        chosen = direct_recipe(start_from={"model": str(folder)})
        assert open_inputs(prepared, chosen, None, None, torch.device("cpu")).start is not None
        return caplog.text

    known = "cases of the split 'test' may have been among its training cases"
    assert known in warnings(data.dataset, data_checksum="0" * 64)
    assert not warnings(data.dataset, data_checksum=data.data_checksum)
    assert not warnings("another", data_checksum="0" * 64)
    assert not warnings(data.dataset)


def test_the_recipe_names_the_folder(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", recipe())
    assert start_of(recipe(start_from={"model": str(folder)}), None).folder == folder
    assert open_start(recipe(), None) is None
    with pytest.raises(UserError, match="starts from the recipe 'sdseg'"):
        open_start(recipe(start_from={"recipe": "sdseg"}), None)
    with pytest.raises(UserError, match="the model folder is missing"):
        open_start(recipe(), tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chosen": recipe(network={"condition": CLASSIC})}, "the weights do not fit the network"),
        ({"codec_seed": 5}, "made with another codec"),
        ({"scale": 0.6}, r"latent scale 0\.7, the codec has 0\.6"),
        ({"chosen": recipe(network={"denoiser": {"heads": 1, "block_out_channels": [8, 24]}})}, "do not fit the netw"),
        ({"chosen": recipe(network={"denoiser": {"layers_per_block": 2}})}, "missing, first"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    begin = start_of(recipe(), saved(tmp_path / "m", recipe()))
    begun = latent(**{"chosen": recipe(), "seed": 2, **changes})
    with pytest.raises(UserError, match=message):
        take_over(begun, begin)


END_TO_END = {"diffusion": {"train_timesteps": "last", "train_noise": "zero", "loss_mask": 1.0}}


def decoding(kind: str) -> Recipe:
    return recipe(network={"decoder": kind}, **END_TO_END)


def test_a_trained_decoder_is_taken_over_and_never_lost(tmp_path: Path) -> None:
    made, folder = latent(decoding("trained"), seed=1), saved(tmp_path / "m", decoding("trained"))
    with torch.no_grad():
        made.decoder.post_quant_conv.weight.add_(1.0)  # as if it had been trained
    _, manifest = load_model(folder)
    save_model(folder, made, manifest)
    begun = latent(decoding("trained"), seed=2)
    take_over(begun, start_of(decoding("trained"), folder))
    assert torch.equal(begun.decoder.post_quant_conv.weight, made.decoder.post_quant_conv.weight)
    for kind in ("frozen", "skips"):
        with pytest.raises(UserError, match="what it learnt would be lost"):
            take_over(latent(decoding(kind), seed=2), start_of(decoding(kind), folder))


@pytest.mark.parametrize("kind", ["trained", "skips"])
def test_a_decoder_learns_from_where_a_frozen_one_stood(tmp_path: Path, kind: str) -> None:
    begin = start_of(decoding(kind), saved(tmp_path / "m", recipe()))
    begun = latent(decoding(kind), seed=2)
    take_over(begun, begin)
    plain = latent(decoding("frozen"), seed=3)
    take_over(plain, begin)
    images = torch.randint(0, 255, (2, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(begun.eval()(images), plain.eval()(images))
    with pytest.raises(UserError, match="made with another codec"):
        take_over(latent(decoding(kind), seed=2, codec_seed=5), begin)


def test_another_kind_of_network_is_refused(tmp_path: Path) -> None:
    begin = start_of(direct_recipe(), write_model(tmp_path / "unet"))
    with pytest.raises(UserError, match=r"(?s)another kind of network \(unet, DirectSegmenter\).*end-to-end-d"):
        take_over(latent(recipe(), seed=0), begin)


def test_a_half_copied_folder_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", recipe())
    begin, path = start_of(recipe(), folder), folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="damaged or foreign: its SHA-256"):
        take_over(latent(recipe(), seed=0), begin)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match="ModelManifest file is missing"):
        open_start(recipe(), folder)


def test_half_precision_halves_the_folder_and_keeps_the_answer(tmp_path: Path) -> None:
    whole = saved(tmp_path / "a", recipe())
    half = saved(tmp_path / "b", recipe(training={"weights": "fp16"}))
    images = torch.randint(0, 255, (4, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        one, other = load_model(whole)[0](images), load_model(half)[0](images)
    assert one.dtype == other.dtype == torch.float32
    difference = (one - other).abs()  # rounding is 4.9e-4 of each weight; an untrained decoder passes it on whole
    assert difference.max() < 1e-2
    assert difference.mean() < 1e-3
    stored = read_tensors(half / "weights.safetensors")
    sizes = [sum(v.nbytes for v in read_tensors(place / "weights.safetensors").values()) for place in (whole, half)]
    assert sizes[1] <= 0.51 * sizes[0]
    assert stored["denoiser.unet.conv_in.weight"].dtype == torch.float16


def test_weights_that_half_precision_cannot_hold(tmp_path: Path) -> None:
    made = latent(recipe(), seed=0)
    with torch.no_grad():
        made.denoiser.unet.conv_in.weight[0, 0, 0, 0] = 1e5
    _, manifest = load_model(saved(tmp_path / "m", recipe(training={"weights": "fp16"})))
    with pytest.raises(UserError, match="does not fit into half precision"):
        save_model(tmp_path, made, manifest)
