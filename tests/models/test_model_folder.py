"""Model and codec folders: what is saved is what is loaded, and anything else is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from sdseg.core.errors import UserError
from sdseg.models.model_folder import load_codec_folder, load_model, save_codec_folder
from tests.helpers.networks import codec
from tests.helpers.tiny import write_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "modèle 1")


def test_a_loaded_model_computes_what_the_saved_one_did(tmp_path: Path) -> None:
    images = torch.randint(0, 255, (2, 32, 32, 3), dtype=torch.uint8)
    one, _ = load_model(write_model(tmp_path / "a", seed=3))
    other, manifest = load_model(write_model(tmp_path / "b", seed=3))
    assert manifest.recipe_name == "unet"
    assert not one.training
    assert torch.equal(one(images), other(images))


def test_codec_folder_round_trip(tmp_path: Path) -> None:
    source = codec(scale=0.37)
    save_codec_folder(tmp_path, source, 0.9, {})
    loaded, manifest = load_codec_folder(tmp_path)
    masks = torch.rand(1, 1, 32, 32).round()
    assert manifest.dice == 0.9
    with torch.inference_mode():
        assert torch.equal(loaded.moments(masks)[0], source.moments(masks)[0])


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the model folder is missing"):
        load_model(tmp_path / "nowhere")


def test_missing_weights(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"'weights\.safetensors' is missing"):
        load_model(folder)


def test_damaged_weights(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="damaged or foreign: its SHA-256"):
        load_model(folder)


def test_foreign_weights_beside_ours(folder: Path) -> None:
    shutil.copy(folder / "weights.safetensors", folder / "other.safetensors")
    with pytest.raises(UserError, match=r"foreign file 'other\.safetensors'"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99 is newer"),
        ({"kind": "something"}, "this is a 'something', not a model"),
        ({"surprise": 1}, "'surprise' extra inputs"),
        ({"recipe": {"description": "x"}}, "missing key 'network'"),
    ],
)
def test_manifests_that_are_not_ours(folder: Path, change: dict[str, object], message: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
    with pytest.raises(UserError, match=message):
        load_model(folder)


def test_truncated_manifest(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text("utf-8")[:100], "utf-8")
    with pytest.raises(UserError, match="not valid JSON"):
        load_model(folder)
