"""What a plan makes of recipes that start from another model, and what it refuses before anything runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sdseg.core.errors import UserError
from sdseg.datasets.check_configuration import check_machine
from workflow.plan import Plan

SMALL = {"block_out_channels": [8, 8], "layers_per_block": 1, "norm_num_groups": 4, "mid_block_attention": False}
UNET = {"block_out_channels": [8], "attention": [False], "layers_per_block": 1, "norm_num_groups": 4, "heads": 1}
TRAINED = {**SMALL, "training": {"steps": 4, "batch": 2, "size": 32}}


def plan(root: Path, starts: dict[str, Any], *, codecs: dict[str, str] | None = None, recipes: Any = None) -> Plan:
    """Recipes `a`, `b`, …, each `sdseg` at a small size with its `start_from`."""
    made = {
        name: {
            "file": str(root / "config/recipes/sdseg-multistep.yaml"),
            "overrides": {
                "network": {"codec": (codecs or {}).get(name, "one"), "condition": SMALL, "denoiser": UNET},
                "training": {"batch": 2},
                **({"start_from": begin} if begin else {}),
            },
        }
        for name, begin in starts.items()
    }
    config = {
        "results": "out é",
        "codecs": {"one": TRAINED, "two": TRAINED},
        "recipes": made,
        "datasets": {"kseg": {"source": "kseg", "size": 32, **({"recipes": recipes} if recipes else {})}},
    }
    return Plan(config, where="my.yaml")


def needed(made: Plan, recipe: str) -> str | list[str]:
    return made.start_needed(SimpleNamespace(dataset="kseg", recipe=recipe))


def test_the_model_of_another_recipe_becomes_an_input(root: Path) -> None:
    made = plan(root, {"a": None, "b": {"recipe": "a"}, "c": {"recipe": "b"}, "d": {"model": "weights/ldm"}})
    assert needed(made, "a") == []
    assert needed(made, "b") == "<results>/kseg/a/model/config.json"
    assert needed(made, "c") == "<results>/kseg/b/model/config.json"
    assert needed(made, "d") == "weights/ldm/config.json"


@pytest.mark.parametrize(
    ("starts", "more", "message"),
    [
        ({"sdseg": None, "b": {"recipe": "sdsek"}}, {}, "unknown recipe 'sdsek', did you mean 'sdseg'"),
        ({"a": {"recipe": "a"}}, {}, "a circle: a starts from a"),
        ({"a": {"recipe": "b"}, "b": {"recipe": "c"}, "c": {"recipe": "a"}}, {}, "a starts from b starts from c"),
        ({"a": None, "b": {"recipe": "a"}}, {"recipes": ["b"]}, "'a' is not trained on this dataset"),
        ({"a": None, "b": {"recipe": "a"}}, {"codecs": {"a": "two"}}, "'a' is built on another codec"),
    ],
)
def test_starts_that_cannot_be(root: Path, starts: dict[str, Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        plan(root, starts, **more)
    assert "start_from.recipe" in str(caught.value)


def test_a_model_from_elsewhere_must_be_there(root: Path, tmp_path: Path) -> None:
    made = plan(root, {"a": {"model": str(tmp_path / "modèle")}})
    with pytest.raises(UserError, match="recipe 'a' starts from a model that is not there"):
        check_machine(made.run)
    (tmp_path / "modèle").mkdir()
    (tmp_path / "modèle" / "config.json").write_text("{}")
    check_machine(made.run)
