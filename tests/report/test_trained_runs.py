"""What the scripts of benchmarks/ read of a results folder: runs whose model is there, and what their records lack."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.changes import changes
from benchmarks.compare import compared
from benchmarks.curves import curves
from benchmarks.demo import demo
from benchmarks.latency_subjects import trained_subjects
from benchmarks.multiclass import multiclass
from benchmarks.nodules import nodules
from benchmarks.trained_runs import mean_if_known, trained_runs
from sdseg.core.errors import UserError
from tests.helpers.stage_results import StageResults


def copied(stages: StageResults, results: Path, training: dict[str, Any] | None = None) -> Path:
    """A results folder with the scores of one run, and its manifest where `training` says what differs in it."""
    run, place = stages.folder / "cvc" / "unet", results / "cvc" / "unet-200s"
    place.mkdir(parents=True)
    (place / "evaluation").symlink_to(run / "evaluation")
    if training is not None:
        manifest = json.loads((run / "model" / "config.json").read_text("utf-8"))
        (place / "model").mkdir()
        changed = json.dumps(manifest | {"training": manifest["training"] | training})
        (place / "model" / "config.json").write_text(changed, "utf-8")
    return results


@pytest.mark.parametrize("script", [compared, demo, multiclass, nodules, trained_subjects])
def test_scores_without_a_model_are_no_figures(
    stages: StageResults, tmp_path: Path, script: Callable[[Path], object]
) -> None:
    with pytest.raises(UserError, match="nothing here was trained and scored"):
        script(copied(stages, tmp_path))


def test_a_run_has_its_model_and_its_training(stages: StageResults, tmp_path: Path) -> None:
    (run,) = trained_runs(copied(stages, tmp_path, {"cpu_seconds": 2.5, "device": "cpu", "best_dice": 0.25}))
    assert (run.recipe, run.model.dataset, run.cpu_seconds, run.device) == ("unet-200s", "cvc", 2.5, "cpu")
    (row,) = compared(tmp_path)["rows"]
    assert (row["cpu_seconds"], row["val_mean"]) == (2.5, 0.25)


def test_what_a_record_lacks_is_told(stages: StageResults, tmp_path: Path) -> None:
    uncounted = copied(stages, tmp_path / "a", {"cpu_seconds": None})
    with pytest.raises(UserError, match="does not tell how many CPU seconds its training took"):
        compared(uncounted)
    assert demo(uncounted)["rows"][0]["training_cpu_seconds"] is None
    with pytest.raises(UserError, match="does not tell what it was trained on"):
        curves(copied(stages, tmp_path / "b", {"device": None}), {})


def test_changes_are_held_against_runs_of_their_kind_with_a_validation(stages: StageResults, tmp_path: Path) -> None:
    results = copied(stages, tmp_path, {"best_dice": None, "device": "cpu", "cpu_seconds": None})
    with pytest.raises(UserError, match="lacks cpu_seconds, best_dice"):
        changes(results / "cvc", ["unet-200s"], {}, "cuda")
    shutil.copytree(stages.folder / "cvc" / "sdseg" / "model", results / "cvc" / "latent" / "model")
    with pytest.raises(UserError, match=r"no run of the kind of unet-200s \(unet\) is named, to hold it against"):
        changes(results / "cvc", ["latent"], {}, "cuda")


def test_large_structures_alone_have_no_small_components_to_find(stages: StageResults, tmp_path: Path) -> None:
    results = copied(stages, tmp_path, {"device": "cpu"})
    (results / "cvc" / "prepared").symlink_to(stages.folder / "cvc" / "prepared")
    with pytest.raises(UserError, match="no component of the test split is below 20 pixels"):
        nodules(results)


def test_a_mean_is_of_known_values_alone() -> None:
    assert mean_if_known([0.5, 0.25]) == 0.375
    assert mean_if_known([0.5, None]) is None
