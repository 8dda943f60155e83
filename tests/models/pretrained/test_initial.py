"""Weights to begin with: LDM's, kl-f8 and Stable Diffusion's become folders that training starts from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sdseg.cli.commands import main
from sdseg.config.codec import Codec
from sdseg.config.network import LatentNetwork
from sdseg.config.recipe import Recipe
from sdseg.core.errors import UserError
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.codec import MaskCodec, load_pretrained
from sdseg.models.latent_segmenter import LatentSegmenter, start_from_codec
from sdseg.models.model_folder import load_codec_folder, load_model
from sdseg.models.pretrained.checkpoint_file import read_checkpoint_file
from sdseg.models.pretrained.convert import TargetLayout, convert_codec, convert_ldm, convert_stable_diffusion
from sdseg.models.start_from import open_start, take_over
from tests.helpers.foreign_files import (
    CODEC,
    ldm_recipe,
    save,
    stable_diffusion_recipe,
    write_ldm,
    write_stable_diffusion,
)
from tests.helpers.networks import CLASSIC, direct_recipe


def layout(recipe: Recipe | None = None, codec: Codec = CODEC, **more: Any) -> TargetLayout:
    return TargetLayout("start", recipe or ldm_recipe(), codec, size=32, **more)


def converted(tmp_path: Path, chosen: TargetLayout, **more: Any) -> LatentSegmenter:
    unet, autoencoder = write_ldm(tmp_path / "bücher 1")
    given = {"unet": unet, "autoencoder": autoencoder, "codec_output": tmp_path / "codec", **more}
    convert_ldm(chosen, output=tmp_path / "model", **given)
    segmenter, _ = load_model(tmp_path / "model")
    assert isinstance(segmenter, LatentSegmenter)
    return segmenter


def test_ldm_becomes_a_model_to_start_from(tmp_path: Path) -> None:
    segmenter = converted(tmp_path, layout())
    first = segmenter.denoiser.unet.conv_in.weight
    assert not first[:, 4:].any()
    assert first[:, :4].any()
    noisy, t = torch.randn(1, 4, 16, 16), torch.tensor([7])
    answers = [segmenter.denoiser(noisy, torch.randn(1, 4, 16, 16), t, None) for _ in range(2)]
    assert torch.equal(*answers)  # what the condition says has no weight yet
    _, manifest = load_model(tmp_path / "model")
    assert (manifest.dataset, manifest.origin, manifest.latent_scale) == ("none", "none", 0.5)
    assert manifest.training["converted_from"] == "lsun.ckpt, kl-f8.ckpt"
    assert manifest.training["steps"] == 0
    assert any("4 condition channels" in new for new in manifest.training["new"])


def test_the_codec_beside_it_is_the_one_training_needs(tmp_path: Path) -> None:
    segmenter = converted(tmp_path, layout())
    codec, manifest = load_codec_folder(tmp_path / "codec")
    assert manifest.latent_scale == 0.5
    encoder = segmenter.condition_encoder.encoder.state_dict()
    assert all(torch.equal(value, encoder[key]) for key, value in codec.autoencoder.encoder.state_dict().items())
    torch.manual_seed(1)
    network = ldm_recipe().network
    assert isinstance(network, LatentNetwork)
    begun = build_segmenter(ldm_recipe(), layout().images()[0], 1, CODEC, codec.scale)
    assert isinstance(begun, LatentSegmenter)
    start_from_codec(begun, codec)
    begin = open_start(ldm_recipe(), tmp_path / "model")
    assert begin is not None
    take_over(begun, begin)
    images = torch.randint(0, 255, (1, 32, 32, 3), dtype=torch.uint8)
    assert torch.equal(begun.eval()(images), segmenter(images))


def test_averaged_unet_own_first_stage_and_several_structures(tmp_path: Path) -> None:
    raw = converted(tmp_path / "raw", layout())
    chosen = layout(source="refuge2", target="disc-cup")
    ema = converted(tmp_path / "ema", chosen, autoencoder=None, ema=True)
    one, other = raw.denoiser.unet.state_dict(), ema.denoiser.unet.state_dict()
    assert torch.allclose(
        one["down_blocks.0.resnets.0.conv1.weight"] / 2, other["down_blocks.0.resnets.0.conv1.weight"]
    )
    assert other["class_embedding.weight"].shape[0] == 2
    assert not other["class_embedding.weight"].any()
    assert torch.equal(raw.decoder.decoder.conv_in.weight, ema.decoder.decoder.conv_in.weight)


def test_projection_from_quant_conv_or_seeded(tmp_path: Path) -> None:
    network = ldm_recipe().network.model_dump() | {"condition": {**ldm_recipe().network.condition.model_dump()}}  # type: ignore[union-attr]
    network["condition"]["projection"] = "quant_conv"
    taken = Recipe.model_validate(ldm_recipe().model_dump() | {"network": network})
    made = converted(tmp_path / "a", layout(taken)).condition_encoder.projection
    codec, _ = load_codec_folder(tmp_path / "a" / "codec")
    assert torch.equal(made.weight, codec.autoencoder.quant_conv.weight[:4])
    seeds = [
        converted(tmp_path / f"s{n}{s}", layout(), seed=s).condition_encoder.projection.weight
        for n, s in ((0, 1), (1, 1), (2, 2))
    ]
    assert torch.equal(seeds[0], seeds[1])
    assert not torch.equal(seeds[0], seeds[2])


def test_a_classic_condition_encoder_and_a_refinement_are_new_beside_the_pretrained_networks(tmp_path: Path) -> None:
    changes = {"condition": CLASSIC, "decoder": "skips"}
    values = ldm_recipe().model_dump()
    chosen = Recipe.model_validate(
        values | {"network": values["network"] | changes, "diffusion": values["diffusion"] | {"loss_mask": 1.0}}
    )
    segmenter = converted(tmp_path, layout(chosen))
    assert not segmenter.denoiser.unet.conv_in.weight[:, 4:].any()
    new = load_model(tmp_path / "model")[1].training["new"]
    assert any("5 condition channels" in each for each in new)
    assert {"the condition encoder (random)", "the refinement of the decoded mask (its correction zero)"} <= set(new)


def test_kl_f8_becomes_a_codec_folder_that_a_configuration_can_name(tmp_path: Path) -> None:
    _, autoencoder = write_ldm(tmp_path)
    (tmp_path / "codec.yaml").write_text(json.dumps(CODEC.model_dump(mode="json")))
    words = ["--from", "kl-f8", "--weights", autoencoder, "--codec", tmp_path / "codec.yaml", "--size", 32]
    assert main([str(word) for word in ["convert", *words, "--output", tmp_path / "kl-f8"]]) == 0
    taken = MaskCodec(CODEC)
    load_pretrained(taken, tmp_path / "kl-f8")
    codec, manifest = load_codec_folder(tmp_path / "kl-f8")
    assert "kl-f8.ckpt" in manifest.provenance["converted_from"]
    own = codec.autoencoder.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in taken.autoencoder.state_dict().items())


@pytest.mark.parametrize("half", [False, True], ids=["full", "fp16"])
def test_stable_diffusion_computes_what_diffusers_does(tmp_path: Path, half: bool) -> None:
    theirs = write_stable_diffusion(tmp_path / "sd", half=half)
    context = torch.randn(1, 3, 6)
    save_file({"empty prompt": context}, tmp_path / "context.safetensors")
    convert_stable_diffusion(
        layout(stable_diffusion_recipe()),
        folder=tmp_path / "sd",
        context=str(tmp_path / "context.safetensors"),
        output=tmp_path / "model",
        codec_output=tmp_path / "codec",
    )
    segmenter, _ = load_model(tmp_path / "model")
    assert isinstance(segmenter, LatentSegmenter)
    noisy, t = torch.randn(2, 4, 16, 16), torch.tensor([7, 900])
    with torch.inference_mode():
        expected = theirs(noisy, t, encoder_hidden_states=context.expand(2, -1, -1)).sample
        found = segmenter.denoiser(noisy, torch.randn(2, 4, 16, 16), t, None)
    assert torch.allclose(found, expected, atol=1e-5)
    load_codec_folder(tmp_path / "codec")


@pytest.mark.parametrize("context", ["zeros", "random"])
def test_contexts_without_a_file(tmp_path: Path, context: str) -> None:
    write_stable_diffusion(tmp_path / "sd")
    chosen = layout(stable_diffusion_recipe())
    convert_stable_diffusion(chosen, folder=tmp_path / "sd", context=context, output=tmp_path / "m")
    segmenter, manifest = load_model(tmp_path / "m")
    assert isinstance(segmenter, LatentSegmenter)
    assert segmenter.denoiser.context is not None
    assert bool(segmenter.denoiser.context.any()) == (context == "random")
    assert manifest.training["context"] == context


def test_the_images_tokens_in_place_of_a_context(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path / "sd")
    chosen = layout(stable_diffusion_recipe(context="image", concatenate=False))
    convert_stable_diffusion(chosen, folder=tmp_path / "sd", context=None, output=tmp_path / "m")
    _, manifest = load_model(tmp_path / "m")
    assert any("image's tokens" in new for new in manifest.training["new"])
    with pytest.raises(UserError, match="the recipe has no constant context"):
        convert_stable_diffusion(chosen, folder=tmp_path / "sd", context="zeros", output=tmp_path / "m")


def edited(path: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights, _ = read_checkpoint_file(path, "anything")
    change(weights)
    save(path, weights)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("lsun", lambda w: w.pop("model.diffusion_model.out.2.bias"), r"1 missing, first 'conv_out\.bias'"),
        ("lsun", lambda w: w.update({"model.diffusion_model.x": torch.ones(1)}), "1 unknown, first 'x'"),
        ("lsun", lambda w: w.update({"cond_stage_model.x": torch.ones(1)}), "not an unconditional LDM checkpoint: unk"),
        ("lsun", lambda w: w.update({"model.diffusion_model.out.2.bias": torch.ones(5)}), r"is \(5,\), not \(4,\)"),
        ("lsun", lambda w: [w.pop(name) for name in list(w) if "model.diff" in name], "nothing below"),
        ("lsun", lambda w: [w.pop(name) for name in list(w) if "ema" in name], "holds no averaged UNet"),
        ("kl-f8", lambda w: w.pop("quant_conv.bias"), r"1 missing, first 'quant_conv\.bias'"),
        ("kl-f8", lambda w: w.update({"surprise": torch.ones(1)}), "unknown key 'surprise'"),
        ("kl-f8", lambda w: w.update({"encoder.mid.surprise": torch.ones(1)}), "1 unknown, first 'encoder"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, file: str, change: Callable[..., Any], message: str) -> None:
    unet, autoencoder = write_ldm(tmp_path)
    edited(tmp_path / f"{file}.ckpt", change)
    outputs = {"output": tmp_path / "model", "codec_output": tmp_path / "codec"}
    with pytest.raises(UserError, match=message):
        convert_ldm(layout(), unet=unet, autoencoder=autoencoder, ema="averaged" in message, **outputs)
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "codec").exists()


def test_other_layouts_and_methods_are_refused(tmp_path: Path) -> None:
    unet, autoencoder = write_ldm(tmp_path, first_stage=False)
    out = {"output": tmp_path / "m"}
    with pytest.raises(UserError, match="no latent diffusion"):
        convert_ldm(layout(direct_recipe()), unet=unet, autoencoder=autoencoder, **out)
    with pytest.raises(UserError, match=r"do not fit the network: .*is \("):
        wider = ldm_recipe(block_out_channels=[16, 16])
        convert_ldm(layout(wider), unet=unet, autoencoder=autoencoder, **out)
    with pytest.raises(UserError, match="holds no first stage"):
        convert_ldm(layout(), unet=unet, autoencoder=None, **out)
    with pytest.raises(UserError, match="a folder each"):
        convert_ldm(layout(), unet=unet, autoencoder=autoencoder, codec_output=tmp_path / "m", **out)
    with pytest.raises(UserError, match="not a KL autoencoder's checkpoint: unknown key"):
        convert_codec(weights=unet, codec=CODEC, output=tmp_path / "c")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda sd: (sd / "unet" / "config.json").unlink(), "has no config.json"),
        (lambda sd: (sd / "vae" / "config.json").write_text("{"), "cannot be read"),
        (lambda sd: _set(sd / "unet" / "config.json", "cross_attention_dim", 1024), "'cross_attention_dim' is 1024"),
        (lambda sd: _set(sd / "vae" / "config.json", "_class_name", "VQModel"), "'_class_name' is 'VQModel'"),
        (lambda sd: (sd / "unet" / "diffusion_pytorch_model.safetensors").unlink(), "neither diffusion_pytorch_model"),
        (lambda sd: _cut(sd / "vae" / "diffusion_pytorch_model.safetensors"), "cannot read the weights"),
        (lambda sd: None, "what cross-attention is to read"),
    ],
)
def test_stable_diffusion_folders_that_will_not_do(tmp_path: Path, spoil: Callable[[Path], Any], message: str) -> None:
    write_stable_diffusion(tmp_path / "sd")
    spoil(tmp_path / "sd")
    context = None if "cross-attention is" in message else "zeros"
    with pytest.raises(UserError, match=message):
        chosen = layout(stable_diffusion_recipe())
        convert_stable_diffusion(chosen, folder=tmp_path / "sd", context=context, output=tmp_path / "m")


def test_a_context_of_another_size(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path / "sd")
    save_file({"c": torch.ones(4, 6)}, tmp_path / "c.safetensors")
    with pytest.raises(UserError, match=r"one tensor \(3, 6\), and the file holds a tensor \(4, 6\)"):
        convert_stable_diffusion(
            layout(stable_diffusion_recipe()),
            folder=tmp_path / "sd",
            context=str(tmp_path / "c.safetensors"),
            output=tmp_path / "m",
        )


def _set(path: Path, key: str, value: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


class Attack:
    """What a malicious pickle does: have a function called while it is read."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {"encoder.x": torch.ones(1)}, "callbacks": Attack(tmp_path / "was-run")}, tmp_path / "e")
    with pytest.raises(UserError, match="refused: the file asks for code to be run"):
        convert_codec(weights=tmp_path / "e", codec=CODEC, output=tmp_path / "c")
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from", "ldm"], "no layout of the network"),
        (["--from", "official", "--recipe", "config/recipes/sdseg-paper.yaml"], "nothing says what it was trained on"),
        (["--from", "official", "--autoencoder", "x"], "means nothing with '--from official'"),
        (["--from", "kl-f8", "--unet", "ema"], "means nothing with '--from kl-f8'"),
        (["--from", "ldm", "--context", "zeros"], "means nothing with '--from ldm'"),
    ],
)
def test_options_that_do_not_go_together(
    words: list[str], message: str, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "codec.yaml").write_text(json.dumps(CODEC.model_dump(mode="json")))
    given = [str(root / word) if word.startswith("config/") else word for word in words]
    more = ["--weights", "x", "--codec", tmp_path / "codec.yaml", "--output", tmp_path / "m"]
    assert main(["convert", *given, *map(str, more)]) == 2
    assert message in capsys.readouterr().err


def test_foreign_weights_are_no_codec_of_label_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "codec.yaml").write_text(json.dumps({**CODEC.model_dump(mode="json"), "encodes": "labels"}))
    words = ["--from", "kl-f8", "--weights", "x", "--codec", tmp_path / "codec.yaml", "--output", tmp_path / "m"]
    assert main([str(word) for word in ["convert", *words]]) == 2
    assert "this layout has 'encodes: labels'" in capsys.readouterr().err


def test_structures_of_foreign_weights_exclude_each_other_as_their_dataset_says() -> None:
    chosen = [("btcv", "classes13"), ("btcv", "organs13"), ("refuge2", "disc-cup"), (None, None)]
    assert [layout(source=source, target=target).exclusive for source, target in chosen] == [True, False, False, False]
