"""What a training writes never takes the place of a model that it reads, nor of another training's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdseg.__main__ import main
from sdseg.cli.training_options import folders_beside
from sdseg.config.recipe import Recipe
from sdseg.core.errors import UserError
from sdseg.training.train import train
from tests.helpers.networks import direct_recipe
from tests.helpers.tiny import write_model, write_store


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A slice store, a trained model, and a link to its folder."""
    write_store(tmp_path / "prepared", cases={"train": (1, 1), "val": (1,), "test": (1,)})
    write_model(tmp_path / "trained" / "model")
    (tmp_path / "link").symlink_to("trained")
    return tmp_path


def run_unet(place: Path, chosen: Recipe, output: str, **more: Any) -> None:
    folders = {"last": place / "run" / "last", "state": place / "run" / "state"} | {
        name: place / more.pop(name) for name in ("last", "state") if name in more
    }
    train(
        prepared=place / "prepared",
        recipe_name="unet",
        recipe=chosen,
        codec=None,
        output=place / output,
        quiet=True,
        **folders,
        **more,
    )


def fingerprints(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def student(**more: Any) -> Recipe:
    return direct_recipe(training={"steps": 1}, distillation={"latent": 0.0}, **more)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"output": "trained/model"}, "the output is {read} itself, which is only read"),
        ({"output": "link/model"}, "the output is {read} itself"),
        ({"output": "trained"}, "the output holds {read}"),
        ({"output": "trained/model/student"}, "the output lies in {read}"),
        ({"output": "new", "last": "trained/model"}, "the folder '--last' is {read} itself"),
        ({"output": "new", "state": "link/model"}, "the folder '--state' is {read} itself"),
    ],
)
def test_a_model_that_is_read_is_not_replaced(place: Path, folders: dict[str, str], message: str) -> None:
    before, model = fingerprints(place), place / "trained" / "model"
    with pytest.raises(UserError, match=message.format(read="the teacher")):
        run_unet(place, student(), **folders, teacher=model)
    with pytest.raises(UserError, match=message.format(read="the model to start from")):
        run_unet(place, direct_recipe(), **folders, start_from=model)
    assert fingerprints(place) == before


def test_one_that_the_recipe_names_is_not_replaced_either(place: Path) -> None:
    named = {"model": str(place / "link" / "model")}
    with pytest.raises(UserError, match="the output is the model to start from itself"):
        run_unet(place, direct_recipe(start_from=named), "trained/model")
    taught = direct_recipe(training={"steps": 1}, distillation={"latent": 0.0, "teacher": named})
    with pytest.raises(UserError, match="the output is the teacher itself"):
        run_unet(place, taught, "trained/model")


def test_a_student_beside_its_teacher_is_trained_and_asked_for_again(place: Path) -> None:
    """The same command twice, and folders that lie beside the teacher's or begin with its name."""
    teacher = place / "trained" / "model"
    before = fingerprints(teacher)
    folders = {"last": "trained/model-last", "state": "trained/state"}
    for _ in range(2):
        run_unet(place, student(), "trained/model-2", teacher=teacher, start_from=teacher, **folders)
    assert (place / "trained" / "model-2" / "weights.safetensors").is_file()
    assert fingerprints(teacher) == before


def test_trainings_side_by_side_share_no_folder(place: Path) -> None:
    """The layout of results/ for an output called `model`, and folders of their own for any other."""
    recipe = place / "unet.yaml"
    recipe.write_text(yaml.safe_dump(direct_recipe(training={"steps": 1}).model_dump(mode="json")), encoding="utf-8")
    words = ["train", "--recipe", str(recipe), "--prepared", str(place / "prepared"), "--quiet"]
    runs = place / "runs é"
    assert main([*words, "--output", str(runs / "model")]) == 0
    before = fingerprints(runs)
    assert {path.name for path in runs.iterdir()} == {"model", "last", "state"}
    assert main([*words, "--output", str(runs / "v2.0"), "--set", "training.seed=1"]) == 0
    assert {path.name for path in runs.iterdir()} == {"model", "last", "state", "v2.0", "v2.0-last", "v2.0-state"}
    assert fingerprints(runs).items() >= before.items()


def test_an_output_without_a_name_has_that_of_its_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "unet").mkdir()
    monkeypatch.chdir(place / "unet")
    assert folders_beside(Path()) == (place / "unet-last", place / "unet-state")
