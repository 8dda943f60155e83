"""What goes wrong in training: noticed at its step, with the cases, and never written to a file."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sdseg.config.recipe import Recipe
from sdseg.core.errors import UserError
from sdseg.data.store import SliceStore
from sdseg.data.training_samples import TrainingSamples
from sdseg.models.model_folder import read_tensors
from sdseg.models.start_from import open_inputs
from sdseg.training.divergence import DivergenceWatch
from sdseg.training.log import Journal
from sdseg.training.setup import build_run, new_accelerator
from tests.helpers.networks import direct_recipe, quick_recipe
from tests.helpers.tiny import write_store
from tests.helpers.training import run, write_inputs

EXPLODES = {"learning_rate": 1e30, "clip_norm": None}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def assert_all_finite(state: Path) -> None:
    written = list(state.rglob("*.safetensors"))
    assert written
    for path in written:
        assert all(bool(tensor.isfinite().all()) for tensor in read_tensors(path).values()), path


def wild(**training: Any) -> Recipe:
    every = {"steps": 20, "validate_every": 1, "checkpoint_every": 1, "log_every": 20}
    chosen = quick_recipe(training=every | training)  # the configuration would refuse such a rate
    return chosen.model_copy(update={"optimiser": chosen.optimiser.model_copy(update=EXPLODES)})


def test_an_exploding_loss_stops_at_its_step_though_it_is_not_logged(ready: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the loss is nan at step 2; the cases of its batch:") as caught:
        run(ready, tmp_path, wild())
    message = str(caught.value)
    store = SliceStore.open(ready / "prepared")
    samples = TrainingSamples(
        store, store.rows_of("train"), seed=0, augmentation="flips", latent_shape=None, latents=None
    )
    batch = {store.cases[samples.draw(place).row].case for place in range(4, 8)}  # rows 0 … 5 are training cases
    assert {line[4:] for line in message.splitlines() if line.startswith("  - ")} == batch
    assert f"{tmp_path / 'state' / 'step-00000001'} (last good state, step 1)" in message
    assert "--on-edit continue" in message
    assert_all_finite(tmp_path / "state")
    assert not (tmp_path / "model").exists()


def test_a_loss_is_judged_before_it_is_logged(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU the watch is a step late; here it is as late on purpose."""
    monkeypatch.setattr("sdseg.training.loop.DivergenceWatch", partial(DivergenceWatch, lag=1))
    with pytest.raises(UserError, match=r"the loss is nan at step 2; the cases of its batch:"):
        run(ready, tmp_path, wild(log_every=1, validate_every=20, checkpoint_every=20))
    lines = (tmp_path / "state" / "training.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_journal_takes_finite_numbers_alone(tmp_path: Path, value: float) -> None:
    with Journal(tmp_path / "training.jsonl", tmp_path / "board", 0) as journal:
        with pytest.raises(UserError, match="a figure of step 3 is not finite"):
            journal.write("step", 3, loss=value, losses={"noise": value})
        journal.write("step", 4, loss=0.5)
    (line,) = (tmp_path / "training.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line) == {"event": "step", "step": 4, "loss": 0.5}


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_longer_finite_are_noticed(ready: Path, tmp_path: Path, value: float) -> None:
    """As after a step whose loss was a number and whose gradient was none."""
    chosen = direct_recipe()
    accelerator = new_accelerator(chosen, "cpu")
    inputs = open_inputs(ready / "prepared", chosen, None, None, accelerator.device)
    run = build_run(chosen, inputs, accelerator, tmp_path)
    watch = DivergenceWatch(run)
    watch.check_weights(1)
    list(run.segmenter.parameters())[-1].data[0] = value
    with pytest.raises(UserError, match=r"(?s)weights are no longer finite after step 1; .*\(no state yet\)"):
        watch.check_weights(1)


def test_a_loss_above_its_limit_stops(ready: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the loss is [\d.e+-]+ at step 1, above training.loss_limit \(1e-06\)"):
        run(ready, tmp_path, quick_recipe(training={"loss_limit": 1e-6}))


def test_slices_of_volumes_are_named_by_number(ready: Path, tmp_path: Path) -> None:
    store = write_store(tmp_path / "prepared", cases={"train": (3, 2), "val": (1,)})
    with pytest.raises(UserError, match=r"(?s)  - train/0 é, slice 0\n.*  - train/1 é, slice 1\n"):
        run(ready, tmp_path / "run", quick_recipe(training={"loss_limit": 1e-6, "batch": 5}), prepared=store)
