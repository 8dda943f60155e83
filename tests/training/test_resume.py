"""What counts as another run, and what becomes of the states of the one before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sdseg.config.recipe import Recipe
from sdseg.core.errors import UserError
from sdseg.training.resume import NEUTRAL, describe_run, differences, made_by, mark_finished, settle
from tests.helpers.networks import recipe
from workflow.settings_files import SPEED


def described(chosen: Recipe, data: str = "a" * 64) -> dict[str, Any]:
    return describe_run(chosen, data, {"codec.safetensors": "c" * 64}, None)


def test_each_difference_is_named_with_both_values() -> None:
    new = recipe(optimiser={"betas": [0.9, 0.99]}, training={"steps": 9})
    assert set(differences(described(recipe()), described(new, "b" * 64))) == {
        "optimiser.betas: [0.9, 0.999] -> [0.9, 0.99]",
        "training.steps: 8 -> 9",
        "data: aaaaaaaaaaaa… -> bbbbbbbbbbbb…",
    }


def test_what_shapes_no_weights_is_no_difference() -> None:
    new = recipe(
        description="other words",
        training={"log_every": 9, "workers": 3, "checkpoint_every": 3, "weights": "fp16", "loss_limit": 2.0},
        inference={"batch": 2},
    )
    assert differences(described(recipe()), described(new)) == ()
    assert {key.rpartition(".")[2] for key in NEUTRAL} >= {"log_every", "workers", "checkpoint_every", "weights"}


def test_a_key_that_came_with_a_new_version_is_no_difference() -> None:
    old = described(recipe())
    del old["recipe"]["training"]["patience"]
    assert differences(old, described(recipe())) == ()


def with_code(**modules: str) -> dict[str, Any]:
    return described(recipe()) | {"code": {name.replace("_", "."): digest for name, digest in modules.items()}}


def test_changed_code_is_a_difference_that_names_the_modules() -> None:
    old = with_code(sdseg_training_train="1", sdseg_training_loop="2", sdseg_old="3")
    assert differences(old, with_code(sdseg_training_train="1", sdseg_training_loop="2", sdseg_old="3")) == ()
    new = with_code(sdseg_training_train="4", sdseg_training_loop="2", sdseg_new="5")
    assert differences(old, new) == ("code: changed in sdseg.new, sdseg.old, sdseg.training.train",)
    many = with_code(**{f"sdseg_m{number}": "1" for number in range(7)})
    assert differences(with_code(sdseg_training_train="1"), many)[0].endswith("m3, sdseg.m4 and 3 more")


def test_states_of_unknown_code_are_of_another_run() -> None:
    old = described(recipe())
    del old["code"]
    assert differences(old, described(recipe())) == (
        "code: it is not known what the states were trained with, an earlier version did not record it",
    )


def test_the_provenance_of_a_finished_run_stays(state: Path) -> None:
    assert made_by(state) is None
    mark_finished(state, {"commit": "a1"})
    settle(state, described(recipe()), "refuse")
    assert made_by(state) == {"commit": "a1"}
    settle(state, EDITED, "refuse")
    assert made_by(state) is None


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The folder of an unfinished run."""
    settle(tmp_path, described(recipe()), "refuse")
    (tmp_path / "step-00000002").mkdir()
    (tmp_path / "step-00000002" / "state.json").touch()
    (tmp_path / "latents-0.npy").touch()
    (tmp_path / "notes.txt").touch()
    return tmp_path


EDITED = described(recipe(training={"seed": 1}))


def test_unchanged_settings_keep_the_states(state: Path) -> None:
    assert settle(state, described(recipe()), "refuse") == ()
    assert (state / "step-00000002").exists()


def test_a_refusal_changes_nothing(state: Path) -> None:
    for _ in range(2):
        with pytest.raises(UserError, match=r"training.seed: 0 -> 1"):
            settle(state, EDITED, "refuse")
    assert (state / "step-00000002").exists()


def test_continuing_keeps_the_states_under_the_new_settings(state: Path) -> None:
    assert settle(state, EDITED, "continue") == ("training.seed: 0 -> 1",)
    assert settle(state, EDITED, "refuse") == ()
    assert (state / "step-00000002").exists()


def test_restarting_removes_states_and_nothing_of_the_users(state: Path) -> None:
    assert settle(state, EDITED, "restart") == ()
    assert sorted(path.name for path in state.iterdir()) == ["latents-0.npy", "notes.txt", "settings.json"]


@pytest.mark.parametrize("on_edit", ["refuse", "continue"])
def test_a_finished_run_makes_way(state: Path, on_edit: Any) -> None:
    mark_finished(state, {"commit": "a1"})
    assert settle(state, EDITED, on_edit) == ()
    assert not (state / "step-00000002").exists()
    assert json.loads((state / "settings.json").read_text("utf-8"))["finished"] is False


def test_states_of_unknown_settings_are_refused(state: Path) -> None:
    (state / "settings.json").write_text("{")
    with pytest.raises(UserError, match=r"settings\.json is missing or damaged"):
        settle(state, described(recipe()), "refuse")


def test_a_folder_that_is_no_state_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"editor.fontSize": 12}', encoding="utf-8")
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events").write_text("mine", encoding="utf-8")
    for on_edit in ("refuse", "restart"):
        with pytest.raises(UserError, match=r"holds 'settings\.json', which training did not write"):
            settle(tmp_path, described(recipe()), on_edit)
    assert (tmp_path / "settings.json").read_text("utf-8") == '{"editor.fontSize": 12}'
    assert (tmp_path / "tensorboard" / "events").exists()


def test_what_planning_passes_as_options_shapes_no_weights() -> None:
    """The workflow leaves these out of a recipe's settings file, so that an edit of them runs nothing again."""
    assert {f"recipe.{section}.{key}" for section, keys in SPEED.items() for key in keys} <= NEUTRAL
