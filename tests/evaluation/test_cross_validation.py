"""Cross-validation: folds of whole groups, drawn once; a training for each; cases scored by who has not seen them."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdseg.artifacts.manifests import ModelManifest
from sdseg.cli.commands import main
from sdseg.config.run import Config
from sdseg.core.errors import UserError
from sdseg.core.files import read_json
from sdseg.core.settings import parse
from sdseg.data.folds import draw_folds, fold_of_store, make_folds, read_folds
from sdseg.data.store import SliceStore
from sdseg.datasets.check_configuration import configure
from sdseg.evaluation.evaluate import cross_validate, evaluate
from sdseg.report.report import print_table, report
from sdseg.training.make_ensemble import make_ensemble
from tests.helpers.networks import direct_recipe
from tests.helpers.tiny import write_model, write_store
from tests.helpers.training import run
from workflow.plan import Plan

CASES = {"train": (1,) * 7, "val": (1,), "test": (1, 1)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, its folds, a training for each, and their out-of-fold scores in a results folder."""
    place = tmp_path_factory.mktemp("folds é")
    write_store(place / "prepared", cases=CASES)
    assert main(["folds", "--prepared", str(place / "prepared"), "--folds", "3", "--output", str(place / "f.csv")]) == 0
    for number in (1, 2, 3):
        chosen = direct_recipe(training={"steps": 2, "validate_every": 1, "seed": number})
        run(place, place / f"unet-fold{number}", chosen, fold=(place / "f.csv", number))
    models = [word for number in (1, 2, 3) for word in ("--model", str(place / f"unet-fold{number}" / "model"))]
    scored = ["--folds", str(place / "f.csv"), "--name", "unet-cross-validated", "--output"]
    output = str(place / "unet-cross-validated" / "evaluation")
    assert main(["evaluate", "--prepared", str(place / "prepared"), *models, *scored, output]) == 0
    return place


def models(place: Path) -> list[Path]:
    return [place / f"unet-fold{number}" / "model" for number in (3, 1, 2)]  # in any order


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "cases.csv").open(encoding="utf-8", newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def test_every_case_is_scored_by_the_model_that_held_it_out(place: Path, tmp_path: Path) -> None:
    folds, found = read_folds(place / "f.csv"), rows(place / "unet-cross-validated" / "evaluation")
    assert set(found) == set(folds.fold_of) == {f"train/{number} é" for number in range(7)}
    by_fold: dict[int, list[float]] = {1: [], 2: [], 3: []}
    for number in by_fold:  # each model scored on the whole training split by itself
        from sdseg.evaluation.write_evaluation import EvaluationOptions

        evaluate(
            place / "prepared", place / f"unet-fold{number}" / "model", tmp_path / "e", EvaluationOptions(split="train")
        )
        for case, row in rows(tmp_path / "e").items():
            if folds.fold_of[case] == number:
                assert found[case] == row
                by_fold[number].append(float(row["dice"]))
    summary = json.loads((place / "unet-cross-validated/evaluation/summary.json").read_text("utf-8"))
    assert (summary["split"], summary["n_cases"], summary["recipe"]) == ("cross-validation", 7, "unet-cross-validated")
    assert summary["cross_validation"]["dice"] == pytest.approx([np.mean(each) for each in by_fold.values()], abs=1e-6)
    assert summary["dice"]["mean"] == pytest.approx(np.mean([x for each in by_fold.values() for x in each]), abs=1e-6)
    assert summary["dice"]["ci95"]


def test_a_training_sees_all_but_its_fold(place: Path) -> None:
    store, folds = SliceStore.open(place / "prepared"), read_folds(place / "f.csv")
    for number in (1, 2, 3):
        view = fold_of_store(store, folds, number)
        names = {split: {case.case for case in view.cases_of(split)} for split in ("train", "val", "test", "aside")}
        assert names["val"] == {case for case, fold in folds.fold_of.items() if fold == number}
        assert names["train"] == set(folds.fold_of) - names["val"]
        assert names["test"] == {case.case for case in store.cases_of("test")}
        assert names["aside"] == {case.case for case in store.cases_of("val")}
        trained = read_json(place / f"unet-fold{number}" / "model" / "config.json", ModelManifest).training
        assert trained["fold"] == {"number": number, "of": 3, "sha256": folds.checksum}


def test_folds_feed_the_ensemble_and_the_page(place: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(place, tmp_path / "results" / "tiny")
    data = tmp_path / "results" / "tiny"
    make_ensemble(models(place), data / "unet-ensemble" / "model", "unet-ensemble")
    for name in ("unet-fold1", "unet-fold2", "unet-fold3", "unet-ensemble"):
        evaluate(data / "prepared", data / name / "model", data / name / "evaluation")
    report(tmp_path / "results", tmp_path / "page.html", None)
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "each of 7 training cases scored by the one of 3 models that had held it out" in page
    assert "Do not compare" not in page
    assert "unet, folds" in page  # the models of the folds stand as one, as those of seeds do
    print_table(tmp_path / "results", tmp_path / "page.html")


@given(st.lists(st.integers(1, 4), min_size=3, max_size=12), st.integers(2, 3), st.integers(0, 99))
def test_groups_stay_whole_and_folds_even(sizes: list[int], count: int, seed: int) -> None:
    group_of = {f"{group}-{case}": f"g{group}" for group, size in enumerate(sizes) for case in range(size)}
    fold_of = draw_folds(group_of, count, seed, where=Path("x"))
    assert list(fold_of) == list(group_of)
    assert set(fold_of.values()) == set(range(1, count + 1))
    assert all(len({fold_of[case] for case in group_of if group_of[case] == group}) == 1 for group in group_of.values())
    counts = Counter(fold_of.values())
    assert max(counts.values()) - min(counts.values()) <= max(sizes)
    assert draw_folds(group_of, count, seed, where=Path("x")) == fold_of


def test_more_folds_than_groups(place: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)8 folds of 7 group\(s\).*set 'folds' to 7 or fewer"):
        make_folds(place / "prepared", 8, place / "eight.csv")
    assert not (place / "eight.csv").exists()
    with pytest.raises(UserError, match=r"2 folds of 1 group\(s\)"):
        draw_folds({"a": "P1 ", "b": "p1"}, 2, 0, where=Path("x"))


def test_folds_are_kept(place: Path, tmp_path: Path) -> None:
    before = (place / "f.csv").read_bytes()
    make_folds(place / "prepared", 3, place / "f.csv")
    assert (place / "f.csv").read_bytes() == before
    with pytest.raises(UserError, match=r"(?s)are not the ones that would be drawn.*another fold"):
        make_folds(place / "prepared", 2, place / "f.csv")
    with pytest.raises(UserError, match="cannot read the folds"):
        read_folds(tmp_path / "none.csv")
    (tmp_path / "odd.csv").write_text("id,group,fold\na,a,1\nb,b,3\n", encoding="utf-8")
    with pytest.raises(UserError, match="no file of two or more folds"):
        read_folds(tmp_path / "odd.csv")


def test_models_that_make_no_cross_validation(place: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "plain")
    for given_models, message in (
        (models(place)[:2], "fold 2 has no model"),
        ([*models(place), models(place)[0]], "held out fold 3, as .* did"),
        ([*models(place)[:2], tmp_path / "plain"], "was not trained on folds"),
    ):
        with pytest.raises(UserError, match=f"(?s)do not make a cross-validation of 3 folds.*{message}"):
            cross_validate(place / "prepared", given_models, place / "f.csv", "x", tmp_path / "out")
    other = place / "prepared"
    make_folds(other, 3, tmp_path / "seed.csv", seed=5)
    with pytest.raises(UserError, match=r"(?s)was trained on other folds"):
        cross_validate(other, models(place), tmp_path / "seed.csv", "x", tmp_path / "out")
    store = SliceStore.open(write_store(tmp_path / "small", cases={**CASES, "train": (1, 1)}))
    with pytest.raises(UserError, match="the folds are of other cases: 5 of them"):
        fold_of_store(store, read_folds(place / "f.csv"), 1)
    with pytest.raises(UserError, match="fold 4 of 3"):
        fold_of_store(SliceStore.open(place / "prepared"), read_folds(place / "f.csv"), 4)
    assert not (tmp_path / "out").exists()


def test_words_that_belong_together(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared = ["--prepared", str(place / "prepared"), "--output", str(tmp_path / "o")]
    assert main(["evaluate", *prepared, "--model", str(models(place)[0]), "--folds", str(place / "f.csv")]) == 2
    assert "'--folds' needs the models that were trained on them, and a name" in capsys.readouterr().err
    assert main(["train", *prepared, "--recipe", "config/recipes/unet.yaml", "--fold", "2"]) == 2
    assert "'--folds' and '--fold' belong together" in capsys.readouterr().err


# The configuration

UNET = {"file": "config/recipes/unet.yaml"}


def values(**unet: Any) -> dict[str, Any]:
    return {"recipes": {"unet": {**UNET, **unet}}, "datasets": {"kseg": {"source": "kseg", "size": 64}}}


def test_a_training_per_fold(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    plan = Plan(values(folds=3, ensemble=True), where="my.yaml")
    folds = ("unet-fold1", "unet-fold2", "unet-fold3")
    assert plan.settings.recipes_of("kseg") == (*folds, "unet-ensemble")
    assert plan.settings.cross_validated("kseg") == {"unet-cross-validated": folds}
    assert plan.out_of_fold() == ["<results>/kseg/unet-cross-validated/evaluation/summary.json"]
    second = SimpleNamespace(dataset="kseg", recipe="unet-fold2")
    assert plan.folds_needed(second) == "<results>/kseg/folds-3.csv"
    assert plan.fold_options(second, SimpleNamespace(folds="f.csv")) == ["--folds", "f.csv", "--fold", "2"]
    row = SimpleNamespace(dataset="kseg", recipe="unet-cross-validated")
    assert plan.folds_of(row) == "<results>/kseg/folds-3.csv"
    assert plan.fold_models(row) == [f"<results>/kseg/{name}/model/config.json" for name in folds]
    assert ("kseg", "unet-cross-validated") in plan.recipes


@pytest.mark.parametrize(
    ("unet", "message"),
    [
        ({"folds": 1}, "recipes.unet.folds: "),
        ({"folds": 3, "seeds": [0, 1]}, "give either 'seeds' or 'folds'"),
    ],
)
def test_folds_that_cannot_be(unet: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(Config, values(**unet), where="my.yaml")


def test_what_starts_from_a_recipe_with_folds_takes_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    both = values(folds=3)
    both["recipes"]["then"] = {**UNET, "folds": 3, "overrides": {"start_from": {"recipe": "unet"}}}
    begin = configure(both, where="my.yaml").recipes["kseg", "then-fold2"].start_from
    assert begin is not None
    assert begin.recipe == "unet-fold2"
    both["recipes"]["unet"] = UNET
    with pytest.raises(UserError, match="'unet' was trained on cases that this recipe holds out"):
        configure(both, where="my.yaml")
