"""LDSeg's networks, small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdseg.config.recipe import Recipe, load_recipe
from sdseg.config.recipe_overrides import lay_over

RECIPES = Path(__file__).resolve().parents[2] / "config" / "recipes"
NETWORK: dict[str, Any] = {
    "label_encoder": {"channels": [4, 8, 8]},
    "image_encoder": {"channels": [4, 8, 8], "attention": [False, False, True], "heads": 2},
    "denoiser": {
        "block_out_channels": [8, 8],
        "attention": [False, True],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "heads": 2,
    },
    "label_decoder": {"channels": [8, 4]},
}
SMALLEST: dict[str, Any] = {  # the quickest graph
    "label_encoder": {"channels": [4, 8]},
    "image_encoder": {"channels": [4, 8], "attention": [False, True], "heads": 2},
    "denoiser": {
        "block_out_channels": [8],
        "attention": [False],  # but in the middle block
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "heads": 2,
    },
    "label_decoder": {"channels": [8]},
}
VOLUMES: dict[str, Any] = {
    "network": {"dimensions": 3, **SMALLEST},
    "patches": {"size": [8, 16, 16], "overlap": 0.25},
}
TRAINING = {
    "steps": 4,
    "batch": 2,
    "precision": "no",
    "validate_every": 2,
    "checkpoint_every": 2,
    "log_every": 1,
    "workers": 0,
}


def ldseg(name: str = "ldseg", **overrides: Any) -> Recipe:
    """One of its recipes at a tiny width and two reverse steps; keyword values are laid over its sections."""
    tiny = {"network": NETWORK, "training": TRAINING, "inference": {"steps": 2}}
    return load_recipe(RECIPES / f"{name}.yaml", lay_over(tiny, overrides))
