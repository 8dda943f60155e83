"""What a training writes never takes the place of a model that it starts or learns from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

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
