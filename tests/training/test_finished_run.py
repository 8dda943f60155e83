"""What is kept of a finished training: enough to write both models again, and no more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sdseg.core.errors import UserError
from sdseg.models.model_folder import load_model
from sdseg.training.train import train
from tests.helpers.networks import direct_recipe, quick_recipe
from tests.helpers.training import events, run, write_inputs


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("été 1"))


def contents(place: Path) -> dict[str, bytes]:
    """Every file of both models, but for the state."""
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for name in ("model", "last")
        for path in (place / name).iterdir()
    }


def test_the_state_of_a_finished_run_shrinks_and_a_rerun_writes_the_same(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(ready, tmp_path, quick_recipe())
    state, before = tmp_path / "state", contents(tmp_path)
    assert {path.name for path in state.iterdir()} == {"finished", "settings.json", "tensorboard", "training.jsonl"}
    for name in ("model", "last"):  # once on disk
        weights = [folder / name / "weights.safetensors" for folder in (tmp_path, state / "finished")]
        assert weights[0].samefile(weights[1])
    shutil.rmtree(tmp_path / "model")  # as Snakemake does before a job
    (tmp_path / "last/config.json").unlink()
    monkeypatch.setattr("sdseg.training.train.build_run", lambda *_: pytest.fail("nothing is built or encoded for it"))
    run(ready, tmp_path, quick_recipe())
    assert contents(tmp_path) == before


def test_what_shapes_no_weights_is_told_as_it_is_now(ready: Path, tmp_path: Path) -> None:
    run(ready, tmp_path, quick_recipe())
    before = contents(tmp_path)["model/weights.safetensors"]
    run(ready, tmp_path, quick_recipe(training={"log_every": 3, "weights": "fp16"}))
    _, manifest = load_model(tmp_path / "model")
    assert manifest.recipe["training"]["log_every"] == 3
    assert len(contents(tmp_path)["model/weights.safetensors"]) < 0.7 * len(before)
    run(ready, tmp_path, quick_recipe())  # and back, without loss
    assert contents(tmp_path)["model/weights.safetensors"] == before


def test_weights_in_half_precision_are_kept_whole(ready: Path, tmp_path: Path) -> None:
    run(ready, tmp_path / "whole", direct_recipe())
    run(ready, tmp_path / "half", direct_recipe(training={"weights": "fp16"}))
    assert len(contents(tmp_path / "half")["model/weights.safetensors"]) < len(
        contents(tmp_path / "whole")["model/weights.safetensors"]
    )
    run(ready, tmp_path / "half", direct_recipe())
    for name in ("model", "last"):
        one, two = (contents(tmp_path / place)[f"{name}/weights.safetensors"] for place in ("whole", "half"))
        assert one == two


def test_more_steps_are_a_new_run(ready: Path, tmp_path: Path) -> None:
    run(ready, tmp_path / "edited", quick_recipe(training={"steps": 4}))
    run(ready, tmp_path / "edited", quick_recipe(training={"steps": 6}))
    run(ready, tmp_path / "fresh", quick_recipe(training={"steps": 6}))
    assert not events(tmp_path / "edited/model", "resumed")
    one, two = (contents(tmp_path / place)["last/weights.safetensors"] for place in ("edited", "fresh"))
    assert one == two


def test_damaged_remains_are_named_and_trained_anew(
    ready: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(ready, tmp_path, quick_recipe())
    before = contents(tmp_path)["model/weights.safetensors"]
    shutil.rmtree(tmp_path / "model")
    kept = tmp_path / "state/finished/model/weights.safetensors"
    damaged = before[:-8] + bytes(8)
    kept.unlink()
    kept.write_bytes(damaged)
    run(ready, tmp_path, quick_recipe())
    assert "the finished training cannot be used" in caplog.text
    assert contents(tmp_path)["model/weights.safetensors"] == before


def test_a_refused_training_leaves_no_state(ready: Path, tmp_path: Path) -> None:
    for chosen, message in ((quick_recipe(), "needs a mask codec"), (direct_recipe(), "the model folder is missing")):
        with pytest.raises(UserError, match=message):
            train(
                prepared=ready / "prepared",
                recipe_name="tiny",
                recipe=chosen,
                codec=None,
                output=tmp_path / "model",
                last=tmp_path / "last",
                state=tmp_path / "state",
                start_from=tmp_path / "nothing",
            )
        assert not any(tmp_path.iterdir())
