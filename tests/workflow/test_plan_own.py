"""What a plan makes of datasets whose split is made from their raw files, and what it refuses before anything runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from sdseg.config.dataset import load_dataset
from sdseg.config.shape import AutoSize
from sdseg.core.errors import UserError
from sdseg.sizing.planned_size import planned_size
from workflow.arguments import Arguments
from workflow.plan import Plan
from workflow.settings_files import SettingsFiles

OWN: dict[str, Any] = {
    "layout": "folders",
    "modality": "ct",
    "images": "ct",
    "masks": "labels",
    "labels": {1: "liver"},
    "windows": {"soft": [-100, 200]},
}
NNUNET: dict[str, Any] = {"layout": "nnunet", "modality": "ct", "windows": {"soft": [-100, 200]}}


def plan(root: Path, dataset: dict[str, Any]) -> Plan:
    recipes = {"unet": {"file": str(root / "config/recipes/unet.yaml")}}
    return Plan({"results": "out é", "recipes": recipes, "datasets": {"mine": dataset}}, where="my.yaml")


MINE = SimpleNamespace(dataset="mine")


def test_an_own_dataset_is_described_before_its_files_are_looked_at(root: Path, tmp_path: Path) -> None:
    made = plan(root, {"source": "own", "own": OWN, "size": 64})
    assert made.split_file(MINE) == "<results>/{dataset}/split.csv"
    assert made.raw_needed(MINE) == "<results>/{dataset}/dataset.yaml"
    assert Arguments(made.run).download_options(MINE) == ["--settings", "out é/mine/dataset.yaml"]
    assert Arguments(made.run).raw_folder(MINE) == "resources/raw/mine"
    (tmp_path / "d.yaml").write_text(SettingsFiles(made.run).dataset(MINE), encoding="utf-8")
    assert load_dataset(tmp_path / "d.yaml") == made.settings.datasets["mine"]


def test_values_of_one_recipe_reach_its_settings_file_and_no_other(root: Path) -> None:
    dataset = {"source": "own", "own": OWN, "size": 64}
    before = plan(root, dataset)
    after = plan(root, {**dataset, "recipes": {"unet": {"overrides": {"training": {"steps": 7}}}}})
    recipe = SimpleNamespace(dataset="mine", recipe="unet")
    assert yaml.safe_load(SettingsFiles(after.run).recipe(recipe))["training"]["steps"] == 7
    assert yaml.safe_load(SettingsFiles(before.run).recipe(recipe))["training"]["steps"] == 50_000
    assert SettingsFiles(after.run).dataset(MINE) == SettingsFiles(before.run).dataset(MINE)


def test_a_size_that_prepare_chooses_is_a_multiple_for_all_recipes(root: Path, tmp_path: Path) -> None:
    made = plan(root, {"source": "own", "own": OWN, "size": "auto"})
    (tmp_path / "d.yaml").write_text(SettingsFiles(made.run).dataset(MINE), encoding="utf-8")
    assert load_dataset(tmp_path / "d.yaml").size == AutoSize(at_most=512, multiple_of=32)  # unet halves five times
    size, note = planned_size(made.settings, "mine")
    assert size == 512
    assert "mine: 'size: auto' is chosen by prepare; counted here is the largest, 512 × 512 pixels" in note
    with pytest.raises(UserError, match=r"size.at_most is 48, and the network needs 64 pixels or more"):
        plan(root, {"source": "own", "own": OWN, "size": {"at_most": 48}})
    with pytest.raises(UserError, match=r"size.multiple_of is 24, and a multiple of 32 is needed"):
        plan(root, {"source": "own", "own": OWN, "size": {"multiple_of": 24}})


def test_a_split_file_of_the_users_is_read(root: Path, tmp_path: Path) -> None:
    made = plan(root, {"source": "own", "own": OWN, "split_file": "my.csv", "protocol": "paper"})
    assert made.split_file(MINE) == "my.csv"
    (tmp_path / "d.yaml").write_text(SettingsFiles(made.run).dataset(MINE), encoding="utf-8")
    assert load_dataset(tmp_path / "d.yaml").protocol == "paper"


@pytest.mark.parametrize(("source", "protocol"), [("isic2018", "official"), ("sts-zenodo", "clean")])
def test_open_sets_without_a_committed_split_get_one(root: Path, source: str, protocol: str) -> None:
    made = plan(root, {"source": source, "protocol": protocol})
    assert made.split_file(MINE) == "<results>/{dataset}/split.csv"
    assert made.raw_needed(MINE) == []


def test_what_only_the_raw_files_tell_is_not_asked_for(root: Path) -> None:
    assert plan(root, {"source": "own", "own": NNUNET, "target": "anything"}).recipes


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"source": "own", "own": OWN, "target": "livre"}, "own has no target 'livre', known here: all"),
        ({"source": "own", "own": OWN, "window": "sofd"}, "own has no window 'sofd', did you mean 'soft'?"),
        (
            {"source": "own", "own": OWN, "protocol": "paper"},
            "made for 'own' follows the protocol 'clean', not 'paper'",
        ),
        ({"source": "isic2018"}, "made for 'isic2018' follows the protocol 'official', not 'clean'"),
        ({"source": "isic2018", "protocol": "official", "split": {"seed": 1}}, "that of 'isic2018' is not drawn"),
        ({"source": "kseg", "split": {"seed": 1}}, "that of 'kseg' is not drawn"),
        (
            {"source": "refuge2", "target": "disc-cup", "exclusive": True},
            "structures 'disc' and 'cup' share label 2, so they cannot exclude each other",
        ),
    ],
)
def test_what_does_not_fit_is_refused(root: Path, dataset: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match="remedy: ") as caught:
        plan(root, dataset)
    assert message in str(caught.value)
    assert "datasets.mine" in str(caught.value)


def test_there_are_no_phantoms_of_them(root: Path) -> None:
    config = {
        "phantoms": {},
        "recipes": {"unet": {"file": str(root / "config/recipes/unet.yaml")}},
        "datasets": {"mine": {"source": "sts-zenodo", "origin": "phantom"}},
    }
    with pytest.raises(UserError, match="there are no phantoms of 'sts-zenodo'"):
        Plan(config, where="my.yaml")


def test_the_example_in_the_configuration_is_valid(root: Path) -> None:
    """The commented example of an own dataset in config/config.yaml."""
    lines = (root / "config/config.yaml").read_text("utf-8").splitlines()
    start = lines.index("  # mine:")
    stop = next(number for number in range(start, len(lines)) if not lines[number].startswith("  #"))
    text = "\n".join(line.replace("# ", "", 1) for line in lines[start:stop])
    (dataset,) = yaml.safe_load(text).values()
    made = plan(root, dataset)
    assert made.settings.datasets["mine"].own is not None
