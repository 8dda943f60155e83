"""Official checkpoints become model folders; anything else is one clear error, and no code is run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdseg.config.codec import Codec
from sdseg.config.recipe import Recipe, load_recipe
from sdseg.core.errors import UserError
from sdseg.datasets.sources import SOURCES
from sdseg.models.model_folder import load_model, read_manifest
from sdseg.models.pretrained.checkpoint_file import read_checkpoint_file
from sdseg.models.pretrained.convert import TargetLayout, convert_official
from sdseg.models.pretrained.official import read_checkpoint
from sdseg.training.codec import build_codec
from tests.helpers.networks import direct_recipe


@pytest.fixture(scope="module")
def layout(golden: Path, root: Path) -> tuple[Recipe, Codec]:
    """The published recipe at the reduced width of the golden checkpoint."""
    described = json.loads((golden / "official_mini.json").read_text())
    encoder = {
        "block_out_channels": [described["autoencoder"]["ch"] * m for m in described["autoencoder"]["ch_mult"]],
        "layers_per_block": described["autoencoder"]["num_res_blocks"],
    }
    unet = described["unet"]
    denoiser = {"block_out_channels": [unet["model_channels"] * m for m in unet["channel_mult"]]}
    overrides = {"network": {"condition": encoder, "denoiser": denoiser}}
    recipe = load_recipe(root / "config" / "recipes" / "sdseg-paper.yaml", overrides)
    return recipe, Codec.model_validate({**encoder, "weights": "official"})


def convert(golden: Path, layout: tuple[Recipe, Codec], output: Path, **changed: Any) -> Path:
    recipe, codec = layout
    values = {"recipe_name": "sdseg-paper", "recipe": recipe, "codec": codec, "source": "cvc", "size": 128}
    chosen = {"weights": golden / "official_mini.ckpt", "ema": True, "output": output}
    fields = {field.name for field in dataclasses.fields(TargetLayout)}
    convert_official(
        TargetLayout(**values | {name: value for name, value in changed.items() if name in fields}),
        **chosen | {name: value for name, value in changed.items() if name not in fields},
    )
    return output


@pytest.mark.parametrize("ema", [True, False], ids=["ema", "raw"])
def test_a_converted_folder_computes_the_official_probability(
    golden: Path, layout: tuple[Recipe, Codec], tmp_path: Path, ema: bool
) -> None:
    segmenter, manifest = load_model(convert(golden, layout, tmp_path / "modèle 1", ema=ema))
    assert manifest.training["unet"] == ("ema" if ema else "raw")
    assert manifest.latent_scale == pytest.approx(0.18)
    with np.load(golden / "official_io.npz") as arrays:
        raw = torch.from_numpy((arrays["image"].transpose(0, 2, 3, 1) + 1) * 127.5)  # our input: 0…255, channels last
        segmenter.fixed_noise.copy_(torch.from_numpy(arrays["noise"][0]))  # type: ignore[union-attr, operator]
        expected = arrays["ema_onestep_probability" if ema else "onestep_probability"]
    with torch.inference_mode():
        found = segmenter(raw).numpy()
    # Rounding the image through 0…255 is amplified 38.7× in z_0; with the very inputs it is 1e-5 (test_golden.py).
    assert np.abs(found - expected.reshape(found.shape)).max() < 1e-4


def edited(golden: Path, path: Path, change: Any) -> Path:
    stored = torch.load(golden / "official_mini.ckpt", weights_only=True)
    change(stored["state_dict"])
    torch.save(stored, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("model.diffusion_model.out.2.bias"), r"1 missing, first 'conv_out\.bias'"),
        (lambda w: w.update({"model.diffusion_model.surprise": w["betas"]}), "1 unknown, first 'surprise'"),
        (lambda w: w.update({"surprise": w["betas"]}), "unknown key 'surprise'"),
        (lambda w: w.update({"alphas_cumprod": w["alphas_cumprod"] * 0.5}), "noise schedule is another one"),
        (lambda w: [w.pop(name) for name in list(w) if name.startswith("model_ema.")], "holds no averaged UNet"),
        (
            lambda w: [w.pop(name) for name in list(w) if name.startswith("cond_stage")],
            "nothing below 'cond_stage_model",
        ),
        (lambda w: w.pop("scale_factor"), "nothing below 'scale_factor'"),
    ],
)
def test_checkpoints_that_do_not_fit(
    golden: Path, layout: tuple[Recipe, Codec], tmp_path: Path, change: Any, message: str
) -> None:
    path = edited(golden, tmp_path / "edited.ckpt", change)
    with pytest.raises(UserError, match=message):
        convert(golden, layout, tmp_path / "model", weights=path, ema="averaged" in message)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("section", "message"),
    [("condition", "condition encoder is built like an autoencoder's"), ("denoiser", "denoiser is LDM's UNet")],
)
def test_a_classic_network_is_refused(
    golden: Path, layout: tuple[Recipe, Codec], tmp_path: Path, section: str, message: str
) -> None:
    recipe, codec = layout
    classic = {"architecture": "unet", "block_out_channels": [4] * len(codec.block_out_channels)}
    values = recipe.model_dump()
    other = Recipe.model_validate(values | {"network": values["network"] | {section: classic}})
    with pytest.raises(UserError, match=message):
        convert(golden, (other, codec), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_another_width_is_refused(golden: Path, layout: tuple[Recipe, Codec], root: Path, tmp_path: Path) -> None:
    narrower = {"network": {"denoiser": {"block_out_channels": [32, 32, 32, 32, 64]}}}
    recipe = Recipe.model_validate(
        layout[0].model_dump()
        | {"network": layout[0].network.model_dump() | {"denoiser": narrower["network"]["denoiser"]}}
    )
    with pytest.raises(UserError, match=r"do not fit the network: .*is \("):
        convert(golden, layout, tmp_path / "model", recipe=recipe)


def test_a_direct_recipe_is_refused(golden: Path, layout: tuple[Recipe, Codec], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no latent diffusion"):
        convert(golden, layout, tmp_path / "model", recipe=direct_recipe())


class Attack:
    """What a malicious pickle does: have a function called while it is read."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {"x": Attack(tmp_path / "was-run")}}, tmp_path / "evil.ckpt")
    with pytest.raises(UserError, match=r"refused: the file asks for code to be run, 'posix\.mkdir'") as caught:
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "was-run").exists()
    assert "weights_only" not in str(caught.value)  # PyTorch's own advice, which would run it


@settings(max_examples=150)
@given(share=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), legacy=st.booleans())
def test_damaged_checkpoints_are_one_error(
    tmp_path_factory: pytest.TempPathFactory, share: float, value: int, legacy: bool
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "cut.ckpt"
    torch.save({"state_dict": {"x": torch.zeros(3)}}, path, _use_new_zipfile_serialization=not legacy)
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] = value
    path.write_bytes(data)
    with contextlib.suppress(UserError):  # what is left may be a checkpoint still
        read_checkpoint_file(path, "a checkpoint")


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"<html>", b".", b"\x80\x02h\x05.", b"\x80\x02R.", b"\x80\x02" + b"(" * 9999 + b"t" * 9999]
)
def test_no_pickle_at_all(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.ckpt").write_bytes(data)
    with pytest.raises(UserError, match=r"not a whole checkpoint: it is cut off|refused: the file is no checkpoint"):
        read_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize("source", ["btcv", "sts"])
def test_a_window_is_that_of_prepared_data(
    golden: Path, layout: tuple[Recipe, Codec], tmp_path: Path, source: str
) -> None:
    """By default the official one, quirk included; any preset by name. Volumes are grey, the golden UNet takes any."""
    official, corrected = (
        read_manifest(convert(golden, layout, tmp_path / str(window), source=source, window=window)).image
        for window in (None, "corrected")
    )
    known = SOURCES[source]
    assert official == known.contract("official", 128)
    assert corrected == known.contract("corrected", 128)
    if source == "btcv":
        assert (official.window, official.train_clip, official.stretch) == ((-125, 275), (-175, 250), True)
        assert (corrected.window, corrected.train_clip, corrected.stretch) == ((-175, 250), None, False)
    with pytest.raises(UserError, match=r"(?s)btcv has no window 'abdomen'.*--window"):
        convert(golden, layout, tmp_path / "other", source="btcv", window="abdomen")


def test_a_codec_that_is_a_layout_alone_is_enough(golden: Path, layout: tuple[Recipe, Codec], tmp_path: Path) -> None:
    bare = Codec.model_validate(layout[1].model_dump(mode="json") | {"weights": None})
    _, manifest = load_model(convert(golden, (layout[0], bare), tmp_path / "model"))
    assert manifest.codec is not None
    assert (manifest.codec["weights"], manifest.codec["training"]) == (None, None)
    with pytest.raises(UserError, match="the codec is a layout alone: give either 'weights'"):
        build_codec(settings=bare, output=tmp_path / "codec")


def test_missing_truncated_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the checkpoint is missing"):
        read_checkpoint(tmp_path / "nowhere.ckpt")
    torch.save({"state_dict": {"x": torch.zeros(1000)}}, tmp_path / "whole.ckpt")
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "whole.ckpt").read_bytes()[:900])
    with pytest.raises(UserError, match="not a whole checkpoint: it is cut off or damaged\n"):
        read_checkpoint(tmp_path / "cut.ckpt")
    with pytest.raises(UserError, match="unknown key 'x'"):
        read_checkpoint(tmp_path / "whole.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(UserError, match="holds no 'state_dict'"):
        read_checkpoint(tmp_path / "list.ckpt")
