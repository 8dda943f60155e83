"""Recipes with seeds: a training each, named after them; what starts from them; and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import yaml

from sdseg.cli.estimate import estimated
from sdseg.config.run import Config, json_schema
from sdseg.core.errors import UserError
from sdseg.core.settings import merge, parse
from sdseg.sizing.run_needs import needs_of
from workflow.plan import Plan

RECIPE: dict[str, Any] = {"description": "plain", "network": {"kind": "direct"}}


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "plain.yaml"
    path.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    return str(path)


def config(recipes: Mapping[str, Any], /, **kseg: Any) -> Config:
    values = {"recipes": dict(recipes), "datasets": {"kseg": {"source": "kseg", "size": 32, **kseg}}}
    jsonschema.Draft202012Validator(json_schema()).validate(values)
    return parse(Config, values, where="my.yaml")


def test_a_training_per_seed(file: str) -> None:
    loaded = config({"unet": {"file": file, "seeds": [0, 1, 10]}, "other": {"file": file}})
    names = ("unet-seed0", "unet-seed1", "unet-seed10")
    assert loaded.recipes_of("kseg") == (*names, "other")
    assert [loaded.resolve_recipe("kseg", name).training.seed for name in names] == [0, 1, 10]
    assert loaded.resolve_recipe("kseg", "other").training.seed == 0


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (["unet"], ("unet-seed1", "unet-seed2")),
        (["unet-seed2"], ("unet-seed2",)),
        (["unet-seed2", "unet"], ("unet-seed2", "unet-seed1")),
    ],
)
def test_a_dataset_names_the_recipe_or_one_of_its_trainings(
    file: str, named: list[str], expected: tuple[str, ...]
) -> None:
    loaded = config({"unet": {"file": file, "seeds": [1, 2]}}, recipes=named)
    assert loaded.recipes_of("kseg") == expected


def test_an_ensemble_is_one_more_model_after_its_members(file: str) -> None:
    loaded = config({"unet": {"file": file, "seeds": [0, 1], "ensemble": True}, "other": {"file": file}})
    assert loaded.recipes_of("kseg") == ("unet-seed0", "unet-seed1", "unet-ensemble", "other")
    assert loaded.trainings["unet-ensemble"].members == ("unet-seed0", "unet-seed1")
    assert loaded.resolve_recipe("kseg", "unet-ensemble").network == loaded.resolve_recipe("kseg", "other").network
    named = config({"unet": {"file": file, "seeds": [0, 1], "ensemble": True}}, recipes=["unet-ensemble"])
    assert named.recipes_of("kseg") == ("unet-seed0", "unet-seed1", "unet-ensemble")  # it needs its members
    plan = Plan(named.model_dump(mode="json"), where="my.yaml")
    assert (plan.trained, plan.ensembles) == (["unet-seed0", "unet-seed1"], ["unet-ensemble"])
    wildcards = SimpleNamespace(dataset="kseg", recipe="unet-ensemble")
    assert plan.members(wildcards) == [f"<results>/kseg/unet-seed{seed}/model/config.json" for seed in (0, 1)]
    assert len(needs_of(named).trainings) == 2  # nothing is trained for it


def test_nothing_starts_from_an_ensemble(file: str) -> None:
    start = {"start_from": {"recipe": "unet-ensemble"}}
    recipes = {"unet": {"file": file, "seeds": [0, 1], "ensemble": True}, "b": {"file": file, "overrides": start}}
    with pytest.raises(UserError, match="'unet-ensemble' is an ensemble, and training starts from one model"):
        Plan({"recipes": recipes, "datasets": {"kseg": {"source": "kseg", "size": 32}}}, where="my.yaml")


def test_the_ablation_may_have_seeds_too(file: str) -> None:
    values: dict[str, Any] = {
        "recipes": {"unet": {"file": file}},
        "datasets": {"kseg": {"source": "kseg", "size": 32}},
        "ablation": {"recipes": {"less": {"file": file, "seeds": [3, 4]}}},
    }
    plan = Plan(values, where="my.yaml")
    assert plan.pairs == (("kseg", "unet"),)
    assert plan.recipe_names == ["unet", "less-seed3", "less-seed4"]
    assert plan.ablation() == [f"<results>/kseg/less-seed{seed}/evaluation/summary.json" for seed in (3, 4)]


def test_what_starts_from_a_recipe_with_seeds_takes_its_own(file: str) -> None:
    start = {"start_from": {"recipe": "first"}}
    recipes = {"first": {"file": file, "seeds": [0, 1]}, "then": {"file": file, "seeds": [1], "overrides": start}}
    begin = config(recipes).resolve_recipe("kseg", "then-seed1").start_from
    assert begin is not None
    assert begin.recipe == "first-seed1"
    named = {**recipes, "then": {"file": file, "overrides": {"start_from": {"recipe": "first-seed0"}}}}
    begin = config(named).resolve_recipe("kseg", "then").start_from
    assert begin is not None
    assert begin.recipe == "first-seed0"


def test_a_student_learns_from_the_teacher_of_its_seed_or_from_an_ensemble(file: str, tmp_path: Path) -> None:
    taught: dict[str, Any] = {"distillation": {"latent": 0.0, "teacher": {"recipe": "first"}}}
    first = {"file": file, "seeds": [0, 1], "ensemble": True}
    recipes = {"first": first, "then": {"file": file, "seeds": [1], "overrides": taught}}
    every = {
        **recipes,
        "last": {"file": file, "overrides": {"distillation": {"latent": 0.0, "teacher": {"model": "m"}}}},
    }
    every["of-all"] = {
        "file": file,
        "overrides": merge(taught, {"distillation": {"teacher": {"recipe": "first-ensemble"}}}),
    }
    values = {"recipes": every, "datasets": {"kseg": {"source": "kseg", "size": 32}}}
    plan = Plan(values, where="my.yaml")
    needed = [plan.teacher_needed(SimpleNamespace(dataset="kseg", recipe=name)) for name in plan.recipe_names]
    models = [f"<results>/kseg/first-{which}/model/config.json" for which in ("seed1", "ensemble")]
    assert needed == [[], [], [], models[0], "m/config.json", models[1]]
    first, _, then, _, of_all = (each.needs for each in needs_of(plan.settings).trainings)
    training = plan.recipes["kseg", "then-seed1"].training
    for student, members in ((then, 1), (of_all, 2)):
        assert student.step_flops == first.step_flops + members * training.batch * first.image_flops
        teacher_bytes = members * first.model_bytes + training.batch * first.answer_bytes
        assert student.process_bytes == first.process_bytes + teacher_bytes
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    assert any("is not counted" in note for note in estimated(tmp_path / "my.yaml", probed=False)["notes"])


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (None, r"recipe 'then' learns from a teacher, and none is named"),
        (
            {"recipe": "them"},
            r"(?s)unknown recipe 'them', did you mean 'then'.*distillation.teacher.recipe of recipe 'then'",
        ),
        ({"recipe": "then"}, "a circle: then learns from then"),
    ],
)
def test_a_teacher_that_cannot_be_is_refused(file: str, teacher: dict[str, str] | None, message: str) -> None:
    then = {"file": file, "overrides": {"distillation": {"latent": 0.0, "teacher": teacher}}}
    with pytest.raises(UserError, match=message):
        Plan({"recipes": {"then": then}, "datasets": {"kseg": {"source": "kseg", "size": 32}}}, where="my.yaml")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"distillation": {"latent": 0.0}}, "recipe 'then' learns from a teacher, and none is named"),
        ({"distillation": {"latent": 0.0, "teacher": {"recipe": "them"}}}, "unknown recipe 'them', did you mean"),
        ({"start_from": {"recipe": "then"}}, "a circle: then starts from then"),
    ],
)
def test_a_recipe_of_the_ablation_builds_on_what_there_is(file: str, overrides: dict[str, Any], message: str) -> None:
    kseg = {"source": "kseg", "size": 32}
    values: dict[str, Any] = {"recipes": {"first": {"file": file}}, "datasets": {"kseg": kseg, "sts": kseg}}
    ablation: dict[str, Any] = {"recipes": {"then": {"file": file, "overrides": overrides}}, "datasets": ["kseg"]}
    with pytest.raises(UserError, match=message):
        Plan(values | {"ablation": ablation}, where="my.yaml")
    ablation["recipes"]["then"]["overrides"] = {"start_from": {"recipe": "first"}}
    Plan(values | {"ablation": ablation}, where="my.yaml")
    values["recipes"]["first"]["overrides"] = {"start_from": {"recipe": "then"}}
    ablation["recipes"]["then"].pop("overrides")
    with pytest.raises(UserError, match=r"(?s)'then' is not trained on this dataset.*add 'sts' to ablation\.datasets"):
        Plan(values | {"ablation": ablation}, where="my.yaml")


@pytest.mark.parametrize(
    ("seeds", "message"),
    [(None, "and this recipe has no seeds: which one is meant"), ([1, 2], "and this recipe has seed 2: which one")],
)
def test_a_start_that_could_be_several_is_refused(file: str, seeds: list[int] | None, message: str) -> None:
    then = {"file": file, "overrides": {"start_from": {"recipe": "first"}}} | ({"seeds": seeds} if seeds else {})
    values = {
        "recipes": {"first": {"file": file, "seeds": [0, 1]}, "then": then},
        "datasets": {"kseg": {"source": "kseg", "size": 32}},
    }
    with pytest.raises(UserError, match=rf"(?s)'first' is trained as first-seed0, first-seed1, {message}.*first-seed0"):
        Plan(values, where="my.yaml")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"seeds": []}, "recipes.unet.seeds: "),
        ({"seeds": [1, 1]}, "'seeds' names a seed twice"),
        ({"seeds": [-1]}, "recipes.unet.seeds.0: "),
        ({"seeds": [1], "overrides": {"training": {"seed": 2}}}, "either 'seeds' or 'overrides.training.seed'"),
        ({"ensemble": True}, "'ensemble' is the mean of several trainings: give 'seeds' two or more"),
        ({"seeds": [1], "ensemble": True}, "'ensemble' is the mean of several trainings"),
        ({"sedes": [1]}, "did you mean 'seeds'"),
    ],
)
def test_seeds_that_cannot_be(file: str, choice: dict[str, Any], message: str) -> None:
    values = {"recipes": {"unet": {"file": file, **choice}}, "datasets": {"kseg": {"source": "kseg"}}}
    with pytest.raises(UserError, match=message):
        parse(Config, values, where="my.yaml")


def test_names_that_meet_are_refused(file: str) -> None:
    recipes = {"unet": {"file": file, "seeds": [0]}, "unet-seed0": {"file": file}}
    with pytest.raises(UserError, match="two trainings would be called 'unet-seed0'"):
        config(recipes)


def test_a_dataset_cannot_change_the_seed_of_a_recipe_with_seeds(file: str) -> None:
    loaded = config({"unet": {"file": file, "seeds": [0]}}, overrides={"training": {"seed": 5}})
    with pytest.raises(UserError, match=r"(?s)has its seed from 'seeds'.*datasets\.kseg\.overrides\.training\.seed"):
        loaded.resolve_recipe("kseg", "unet-seed0")
