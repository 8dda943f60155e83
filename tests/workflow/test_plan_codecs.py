"""Which codec a training waits for: one for all datasets, or the dataset's own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sdseg.core.errors import UserError
from workflow.asks import Asks
from workflow.plan import Plan
from workflow.settings_files import SettingsFiles

LAYOUT = {"block_out_channels": [8, 8], "layers_per_block": 1, "norm_num_groups": 4, "mid_block_attention": False}
UNET = {"block_out_channels": [8], "attention": [False], "layers_per_block": 1, "norm_num_groups": 4, "heads": 1}
OWN = {**LAYOUT, "training": {"data": "dataset", "steps": 4, "batch": 2}}


def plan(root: Path, recipe: str, **network: Any) -> Plan:
    overrides = {"network": {"condition": LAYOUT, "denoiser": UNET, **network}}
    config = {
        "results": "out é",
        "codecs": {
            "masks": {**LAYOUT, "training": {"steps": 4}},
            "labels": {**OWN, "encodes": "labels"},
            "images": {**OWN, "encodes": "image"},
        },
        "recipes": {"r": {"file": str(root / f"config/recipes/{recipe}.yaml"), "overrides": overrides}},
        "datasets": {"eyes": {"source": "refuge2", "target": "disc-cup", "size": 32}},
    }
    return Plan(config, where="my.yaml")


def test_codecs_of_a_datasets_own_and_for_all(root: Path) -> None:
    chosen = SimpleNamespace(dataset="eyes", recipe="r", codec="labels")
    shared = plan(root, "sdseg-onestep", codec="masks")
    assert shared.codec_needed(chosen) == "<results>/codecs/masks/codec/config.json"
    assert shared.image_codec_needed(chosen) == []
    joint = plan(root, "sdseg-multiclass", codec="labels")
    assert joint.codec_needed(chosen) == "<results>/eyes/codecs/labels/codec/config.json"
    both = plan(root, "medseglatdiff", codec="labels", condition={**LAYOUT, "codec": "images"})
    assert both.image_codec_needed(chosen) == "<results>/eyes/codecs/images/codec/config.json"
    assert "encodes: labels" in SettingsFiles(both.run).codec(chosen)
    assert Asks(both).ask("codec", chosen).memory == 2


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            {"codec": "images"},
            "the codec encodes images ('encodes: image'), and one of masks",
        ),
        (
            {"codec": "labels", "condition": {**LAYOUT, "codec": "labels"}},
            "a codec of images is expected",
        ),
        (
            {"codec": "labels", "condition": {**LAYOUT, "codec": "image"}},
            "unknown codec 'image', did you mean",
        ),
    ],
)
def test_codecs_in_each_others_place(root: Path, network: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match="remedy: ") as caught:
        plan(root, "medseglatdiff", **network)
    assert message in str(caught.value)
