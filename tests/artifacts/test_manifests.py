"""Manifests: what is written is what is read, and what is none is refused; earlier versions are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from sdseg.artifacts.image_contract import ImageContract, Structure
from sdseg.artifacts.manifests import GraphManifest, GraphPort, ModelManifest, PreparedManifest
from sdseg.core.errors import UserError
from sdseg.core.files import (
    parse_json,
    read_json,
    write_json,
)

IMAGE = ImageContract(modality="ct", size=64, channels=1, window=(-175.0, 250.0))
ORGANS = (Structure(name="organs", values=(1, 2)),)
PREPARED = PreparedManifest(
    dataset="bücher",
    source="btcv",
    origin="phantom",
    protocol="clean",
    target="organs13",
    image=IMAGE,
    structures=ORGANS,
    labels={1: "spleen", 2: "right kidney"},
    n_cases={"train": 2, "val": 1, "test": 1},
    n_slices={"train": 20, "val": 10, "test": 10},
    checksums={"images.npy": "a" * 64},
    data_checksum="b" * 64,
    provenance={},
)
MODEL = ModelManifest(
    dataset="kseg",
    origin="real",
    protocol="clean",
    recipe_name="unet",
    recipe={"description": "d"},
    codec=None,
    latent_scale=None,
    image=IMAGE,
    structures=ORGANS,
    training={"step": 3},
    files={},
    provenance={},
)
GRAPH = GraphManifest(
    dataset="kseg",
    origin="real",
    recipe="unet",
    inputs=(GraphPort(name="image", dtype="uint8", axes=("batch", 64, 64, 3), range=(0, 255)),),
    outputs=(GraphPort(name="probability", dtype="float32", axes=("batch", 1, 64, 64), range=(0, 1)),),
    image=IMAGE,
    structures=ORGANS,
    threshold=0.5,
    opset=21,
    provenance={},
)


@pytest.mark.parametrize("manifest", [PREPARED, MODEL, GRAPH], ids=lambda each: type(each).__name__)
def test_manifests_survive_their_file(manifest: BaseModel, tmp_path: Path) -> None:
    path = tmp_path / "ein Ordner é" / "manifest.json"
    write_json(path, manifest)
    assert read_json(path, type(manifest)) == manifest
    assert "\\u" not in path.read_text("utf-8")  # letters stay readable


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is truncated or not ours"),
        (PREPARED.model_dump_json()[:-20], "the file is truncated or not ours"),
        ("[1, 2]", "not a PreparedManifest"),
        ("{}", "not a PreparedManifest: 'dataset' field required"),
        (json.dumps({**PREPARED.model_dump(mode="json"), "format": 99}), "format 99 is newer than this sdseg"),
        (json.dumps({**PREPARED.model_dump(mode="json"), "extra": 1}), "'extra' extra inputs are not permitted"),
        (json.dumps({**PREPARED.model_dump(mode="json"), "image": {"size": "big"}}), "'image.modality' field required"),
    ],
    ids=["empty", "truncated", "list", "no keys", "newer", "foreign key", "wrong type"],
)
def test_manifest_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="remedy: ") as caught:
        read_json(path, PreparedManifest)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_threshold_stands_in_the_recipe_and_is_read_where_earlier_versions_wrote_it() -> None:
    earlier = MODEL.model_dump(mode="json") | {
        "threshold": 0.3,
        "recipe": {"inference": {"threshold": 0.5, "batch": 8}},
    }
    manifest = ModelManifest.model_validate(earlier)
    assert (manifest.threshold, manifest.recipe["inference"]) == (0.3, {"threshold": 0.3, "batch": 8})
    assert "threshold" not in manifest.model_dump()
    assert MODEL.threshold == 0.5
    with pytest.raises(
        ValidationError, match=r"'inference\.threshold' of its recipe should be from 0 to 1 \(it is 5\)"
    ):
        ModelManifest.model_validate(earlier | {"threshold": 5})


def test_manifest_of_another_stage_is_refused() -> None:
    with pytest.raises(UserError, match="not a GraphManifest"):
        parse_json(MODEL.model_dump_json(), GraphManifest, where=Path("io.json"))


def test_manifest_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the PreparedManifest file is missing"):
        read_json(tmp_path / "no.json", PreparedManifest)
    with pytest.raises(UserError, match="cannot read the PreparedManifest file"):
        read_json(tmp_path, PreparedManifest)


def test_manifest_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(b'{"dataset": "\xff"}')
    with pytest.raises(UserError, match="cannot read the PreparedManifest file"):
        read_json(path, PreparedManifest)


def test_what_an_image_is_stored_as() -> None:
    assert IMAGE.dtype == "int16"
    assert ImageContract(modality="rgb", size=64, channels=3, window=(0, 255)).dtype == "uint8"


def test_contracts_of_earlier_versions_are_read() -> None:
    for modality, expected in (("rgb", "uint8"), ("ct", "int16")):
        old = {"modality": modality, "size": 64, "channels": 1, "window": [0.0, 255.0]}
        found = ImageContract.model_validate(old)
        assert (found.dtype, found.intensities, found.stretch) == (expected, None, False)
