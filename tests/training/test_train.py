"""Training: it learns, it can be killed at any moment, it never looks at test cases."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from sdseg.config.recipe import Recipe
from sdseg.core.errors import UserError
from sdseg.core.files import sha256_file
from sdseg.core.fingerprint import PACKAGE
from sdseg.core.signals import Stopped
from sdseg.data.store import SliceStore
from sdseg.data.training_samples import TrainingSamples
from sdseg.models.frozen_codec import open_codec
from sdseg.models.model_folder import load_model, read_tensors
from sdseg.training.dataloader import open_training_data
from sdseg.training.state import latest_state
from sdseg.training.train import train
from tests.helpers.loaded_python import python
from tests.helpers.networks import direct_recipe, quick_recipe, recipe
from tests.helpers.tiny import seal, write_store
from tests.helpers.training import events, heed, rewind, run, write_inputs

SLOW = {"steps": 20, "checkpoint_every": 3, "validate_every": 8, "augmentation": "dihedral"}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a slice store and a codec; its name has a space and an accent."""
    return write_inputs(tmp_path_factory.mktemp("été 1"))


def test_writes_the_best_and_the_last_model_with_their_history(ready: Path, tmp_path: Path) -> None:
    model = run(ready, tmp_path, quick_recipe())
    _, manifest = load_model(model)
    load_model(tmp_path / "last")
    assert (manifest.training["steps"], manifest.training["stopped"]) == (8, "steps")
    assert manifest.training["best_step"] in (4, 8)
    assert 0 <= manifest.training["codec_ceiling"]["dice"] <= 1
    assert [event["step"] for event in events(model, "step")] == list(range(1, 9))
    validations = events(model, "validation")
    best = max(validations, key=lambda event: float(str(event["dice"])))
    assert manifest.training["best_dice"] == best["dice"]
    assert list((tmp_path / "state").rglob("events.out.tfevents*"))


def test_the_loss_falls(ready: Path, tmp_path: Path) -> None:
    model = run(ready, tmp_path, quick_recipe(training={"steps": 40}, optimiser={"learning_rate": 3e-3}))
    losses = [float(str(event["loss"])) for event in events(model, "step")]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_the_baseline_goes_the_same_way(ready: Path, tmp_path: Path) -> None:
    _, manifest = load_model(run(ready, tmp_path, direct_recipe()))
    assert manifest.codec is None
    assert manifest.training["codec_ceiling"] is None


def command(ready: Path, place: Path, chosen: Recipe, interpreter: str | Path = sys.executable) -> list[str]:
    path = place / "recipe.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(chosen.model_dump(mode="json")), "utf-8")
    words = [
        "--prepared",
        ready / "prepared",
        "--recipe",
        path,
        "--codec",
        ready / "codec",
        "--output",
        place / "model",
    ]
    return [str(interpreter), "-m", "sdseg", "train", *map(str, words), "--quiet"]


def wait_for_state(place: Path, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 120
    while not list((place / "state").glob("step-*/state.json")):
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_run_resumes_to_the_very_same_weights(ready: Path, tmp_path: Path) -> None:
    network = {"denoiser": {"dropout": 0.3}, "condition": {"dropout": 0.3}}
    chosen = quick_recipe(training=SLOW, network=network, diffusion={"sample_latents": True, "loss_noise": 0.5})
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command(ready, tmp_path / "killed", chosen), env=environment)
    wait_for_state(tmp_path / "killed", process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model").exists()
    for name in ("whole", "killed"):
        subprocess.run(command(ready, tmp_path / name, chosen, python()), env=environment, check=True)
    for folder in ("model", "last"):
        whole, killed = (tmp_path / name / folder for name in ("whole", "killed"))
        weights = [(place / "weights.safetensors").read_bytes() for place in (whole, killed)]
        assert weights[0] == weights[1]
    assert events(tmp_path / "killed" / "model", "resumed")
    spent = [load_model(tmp_path / name / "model")[1].training["cpu_seconds"] for name in ("whole", "killed")]
    assert 0.2 * spent[0] < spent[1] < 5 * spent[0]  # of both parts, as the clock of one process would not show

    def history(name: str) -> list[tuple[object, object]]:
        return [(event["step"], event["loss"]) for event in events(tmp_path / name / "model", "step")]

    assert history("whole") == history("killed")


@pytest.mark.parametrize(
    ("made", "training"),
    [
        (recipe, {"precision": "bf16"}),  # with attention, and the paper's encoder
        (quick_recipe, {"augmentation": "affine"}),
        (quick_recipe, {"accumulate": 2, "ema_scope": "denoiser"}),
    ],
    ids=["bf16", "strong augmentation", "accumulated"],
)
def test_an_interrupted_run_resumes_to_the_very_same_weights(
    ready: Path, tmp_path: Path, made: Callable[..., Recipe], training: dict[str, object]
) -> None:
    chosen = made(training={"steps": 6, **training}, optimiser={"warmup_steps": 2, "schedule": "cosine"})
    model = run(ready, tmp_path, chosen)
    folders = (model, tmp_path / "last")
    whole = [(folder / "weights.safetensors").read_bytes() for folder in folders]
    losses = [event["loss"] for event in events(model, "step")]
    rewind(tmp_path)
    run(ready, tmp_path, chosen)
    assert [event["step"] for event in events(model, "resumed")] == [4]
    assert [(folder / "weights.safetensors").read_bytes() for folder in folders] == whole
    assert [event["loss"] for event in events(model, "step")] == losses


class Signal:
    """Raises a signal in the midst of a step, or of a validation, as if it came from outside."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, place: str, call: int) -> None:
        module, name = place.rsplit(".", 1)
        real, calls = getattr(importlib.import_module(module), name), []

        def counted(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) == call:
                signal.raise_signal(number)
            return real(*args, **kwargs)

        heed(number)
        monkeypatch.setattr(place, counted)


ASKED = quick_recipe(training={"steps": 8, "validate_every": 4, "checkpoint_every": 1000})


@pytest.fixture(scope="module")
def undisturbed(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ASKED."""
    place = tmp_path_factory.mktemp("undisturbed")
    run(ready, place, ASKED)
    return place


@pytest.mark.parametrize(
    ("number", "place", "call", "step", "validation"),
    [
        (signal.SIGTERM, "sdseg.training.loop._to_batch", 5, 5, False),  # in a step after which nothing is due
        (signal.SIGINT, "sdseg.training.loop._to_batch", 4, 4, True),  # in one after which a validation is due
        (signal.SIGTERM, "sdseg.training.validation.score_cases", 2, 8, True),  # in the last validation
        (signal.SIGINT, "sdseg.training.validation.write_tensors", 1, 4, True),  # before the best weights are written
    ],
)
def test_a_training_that_is_asked_to_end_saves_its_state_and_repeats_to_the_bit(
    ready: Path,
    tmp_path: Path,
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    place: str,
    call: int,
    step: int,
    validation: bool,
) -> None:
    with monkeypatch.context() as patched:
        Signal(patched, number, place, call)
        with pytest.raises(Stopped, match=f"stopped after step {step} of 8; the state is saved, and the same command"):
            run(ready, tmp_path, ASKED)
    found = latest_state(tmp_path / "state")
    assert found is not None
    assert (found.step, found.progress["unjudged"], found.progress["stopped"]) == (step, validation, "")
    assert not (tmp_path / "model").exists()
    torch.manual_seed(99)
    run(ready, tmp_path, ASKED)
    for name in ("model", "last"):
        one, two = ((each / name / "weights.safetensors").read_bytes() for each in (undisturbed, tmp_path))
        assert one == two

    def history(place: Path) -> list[tuple[object, ...]]:
        both = [(kind, event) for kind in ("step", "validation") for event in events(place / "model", kind)]
        return [(kind, event["step"], event.get("loss", event.get("dice"))) for kind, event in both]

    assert history(undisturbed) == history(tmp_path)


def test_a_second_signal_ends_it_at_once(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(*_: Any) -> None:
        for _each in range(2):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("sdseg.training.loop._to_batch", twice)
    with pytest.raises(Stopped, match=r"^interrupted \(SIGTERM\)$"):
        run(ready, tmp_path, quick_recipe())
    assert latest_state(tmp_path / "state") is None


@pytest.mark.parametrize("workers", [0, 2])
def test_the_command_ends_with_a_message_when_all_its_processes_are_asked_to(
    ready: Path, tmp_path: Path, workers: int
) -> None:
    """As schedulers do: the signal goes to the workers that read the samples too."""
    chosen = quick_recipe(training={"steps": 100_000, "checkpoint_every": 3, "workers": workers})
    words = command(ready, tmp_path, chosen)
    with subprocess.Popen(words, stderr=subprocess.PIPE, encoding="utf-8", start_new_session=True) as process:
        wait_for_state(tmp_path, process)
        os.killpg(process.pid, signal.SIGTERM)
        told = process.communicate()[1]
    assert process.returncode == 128 + signal.SIGTERM
    found = latest_state(tmp_path / "state")
    assert found is not None
    assert f"sdseg train: stopped after step {found.step} of 100000; the state is saved" in told
    assert "(SIGTERM)" in told
    assert "Traceback" not in told


def test_a_finished_run_with_an_edited_recipe_starts_anew(ready: Path, tmp_path: Path) -> None:
    run(ready, tmp_path, quick_recipe())
    first = read_tensors(tmp_path / "last" / "weights.safetensors")
    run(ready, tmp_path, quick_recipe(optimiser={"learning_rate": 5e-3}, training={"augmentation": "none"}))
    assert not events(tmp_path / "model", "resumed")
    second = read_tensors(tmp_path / "last" / "weights.safetensors")
    assert any(not first[name].equal(second[name]) for name in first)
    assert len(list((tmp_path / "unshrunk").glob("latents-*.npy"))) == 1  # those of the new orientations alone
    assert len(list((tmp_path / "unshrunk").glob("best-*"))) <= 3


def test_a_finished_run_whose_code_changed_starts_anew(ready: Path, tmp_path: Path) -> None:
    """A comment is no change: those weights keep their date and commit. Another loss is one."""
    first = run(ready, tmp_path, quick_recipe())
    made = json.loads((first / "config.json").read_text("utf-8"))["provenance"]
    weights = (tmp_path / "last" / "weights.safetensors").read_bytes()
    copy, loss = tmp_path / "copy" / "sdseg", "functional.l1_loss if settings.distance"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(quick_recipe().model_dump(mode="json")), "utf-8")
    command = [python(), "-m", "sdseg", "train", "--prepared", ready / "prepared", "--codec", ready / "codec"]
    command += ["--recipe", tmp_path / "recipe.yaml", "--name", "tiny", "--output", tmp_path / "model", "--quiet"]

    def again_with(text: str) -> tuple[str, bytes, dict[str, Any]]:
        (copy / "models/diffusion.py").write_text(text, "utf-8")
        environment = {**os.environ, "PYTHONPATH": str(copy.parent)}
        done = subprocess.run(
            command, cwd=copy.parent, env=environment, capture_output=True, encoding="utf-8", check=True
        )
        config = json.loads((tmp_path / "model" / "config.json").read_text("utf-8"))
        return done.stderr, (tmp_path / "last" / "weights.safetensors").read_bytes(), config["provenance"]

    source = (copy / "models/diffusion.py").read_text("utf-8")
    shown, same, provenance = again_with(source + "\n# another word\n")
    assert "finished before, after step 8" in shown
    assert (same, provenance) == (weights, made)
    assert loss in source
    shown, other, provenance = again_with(source.replace(loss, "functional.smooth_l1_loss if settings.distance"))
    assert "starting anew, since changed: code: changed in sdseg.models.diffusion" in shown
    assert other != weights
    assert provenance["code"] != made["code"]


def test_an_unfinished_run_with_an_edited_recipe_is_refused_unless_allowed(ready: Path, tmp_path: Path) -> None:
    run(ready, tmp_path, quick_recipe())
    rewind(tmp_path)
    edited = quick_recipe(optimiser={"learning_rate": 5e-3}, training={"log_every": 2})
    with pytest.raises(
        UserError, match=r"(?s)were changed:\n  - optimiser.learning_rate: 0.001 -> 0.005\n  where.*--on-edit"
    ):
        run(ready, tmp_path, edited)
    run(ready, tmp_path, edited, on_edit="continue")
    (resumed,) = events(tmp_path / "model", "resumed")
    assert (resumed["step"], resumed["changed"]) == (6, ["optimiser.learning_rate: 0.001 -> 0.005"])
    rewind(tmp_path)
    run(ready, tmp_path, quick_recipe(), on_edit="restart")
    assert not events(tmp_path / "model", "resumed")
    run(ready, tmp_path / "fresh", quick_recipe())
    both = [(place / "last" / "weights.safetensors").read_bytes() for place in (tmp_path, tmp_path / "fresh")]
    assert both[0] == both[1]


def test_a_plateau_ends_training_and_does_so_again_after_an_interruption(ready: Path, tmp_path: Path) -> None:
    """Learning next to nothing: every validation after the first finds the same Dice."""
    chosen = quick_recipe(
        training={"steps": 50, "validate_every": 1, "checkpoint_every": 1, "patience": 2},
        optimiser={"learning_rate": 1e-12, "weight_decay": 0.0},
    )
    model = run(ready, tmp_path, chosen)
    for _ in range(2):
        _, manifest = load_model(model)
        assert (manifest.training["steps"], manifest.training["stopped"]) == (3, "plateau")
        assert (manifest.training["best_step"], events(model, "done")[-1]["reason"]) == (1, "plateau")
        rewind(tmp_path)
        run(ready, tmp_path, chosen)
        assert {event["step"] for event in events(model, "resumed")} == {2}


def test_a_plateau_without_validation_cases_is_refused(ready: Path, tmp_path: Path) -> None:
    store = write_store(tmp_path / "prepared", cases={"train": (1,) * 4, "test": (1,)})
    with pytest.raises(UserError, match=r"(?s)split has no cases.*training\.patience"):
        run(ready, tmp_path / "run", quick_recipe(training={"patience": 1}), prepared=store)


def test_accumulated_parts_make_the_same_step_as_one_batch(ready: Path, tmp_path: Path) -> None:
    run(ready, tmp_path / "one", recipe(training={"steps": 3}))
    run(ready, tmp_path / "two", recipe(training={"steps": 3, "accumulate": 2}))
    one, two = (read_tensors(tmp_path / name / "last" / "weights.safetensors") for name in ("one", "two"))
    worst = max(float((one[name].float() - two[name].float()).abs().max()) for name in one)
    assert worst < 1e-4


@pytest.mark.parametrize("sampled", [False, True])
def test_latents_encoded_at_every_step_are_the_cached_ones(ready: Path, sampled: bool) -> None:
    """The way strong augmentation takes, without its deformation, gives the batches that the cache gives."""
    chosen = quick_recipe(diffusion={"sample_latents": sampled}, training={"augmentation": "none"})
    store = SliceStore.open(ready / "prepared")
    used = open_codec(chosen, ready / "codec", torch.device("cpu"))
    assert used is not None
    cached = open_training_data(store, chosen, used, ready / f"latents-{sampled}.npy", torch.device("cpu"))
    samples = TrainingSamples(
        store, cached.samples.rows, seed=0, augmentation="none", latent_shape=cached.samples.latent_shape, latents=None
    )
    made = samples[5]
    mean, deviation = used.codec.moments(made["mask"][made["structure"]][None, None])
    latent = mean + deviation * made["posterior"] if sampled else mean
    torch.testing.assert_close(latent[0], cached.samples[5]["latent"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chosen", [quick_recipe, direct_recipe], ids=["latent", "direct"])
def test_strong_augmentation_trains_and_repeats(ready: Path, tmp_path: Path, chosen: Callable[..., Recipe]) -> None:
    made = chosen(training={"augmentation": "strong", "steps": 4})
    weights = [(run(ready, tmp_path / name, made) / "weights.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]


def test_test_cases_are_never_opened(ready: Path, tmp_path: Path) -> None:
    """A store whose test images are others and whose test labels cannot be read gives the very same model."""
    other = write_store(tmp_path / "prepared", cases={"train": (1,) * 6, "val": (1, 1), "test": (1, 1)})
    images = np.load(other / "images.npy", mmap_mode="r+")
    images[-2:] = 255 - images[-2:]
    images.flush()
    start = int(np.load(other / "mask_ends.npy")[-3])
    masks = np.load(other / "masks.npy", mmap_mode="r+")
    masks[start:] = 255
    masks.flush()
    seal(other)
    with pytest.raises(UserError, match="row 8 is damaged"):
        _ = SliceStore.open(other).masks[-2:]
    run(ready, tmp_path / "a", quick_recipe())
    run(ready, tmp_path / "b", quick_recipe(), prepared=other)
    one, two = ((tmp_path / name / "model" / "weights.safetensors").read_bytes() for name in ("a", "b"))
    assert one == two


def test_a_store_that_was_changed_is_not_trained_on(ready: Path, tmp_path: Path) -> None:
    other = write_store(tmp_path / "prepared", cases={"train": (1,) * 6, "val": (1, 1), "test": (1, 1)})
    images = np.load(other / "images.npy", mmap_mode="r+")
    images[:] = 255 - images[:]
    images.flush()
    with pytest.raises(UserError, match=r"(?s)files changed since they were prepared.*images\.npy"):
        run(ready, tmp_path / "a", direct_recipe(), prepared=other)


def test_without_validation_cases_the_last_is_kept(ready: Path, tmp_path: Path) -> None:
    store = write_store(tmp_path / "prepared", cases={"train": (1,) * 4, "test": (1,)})
    _, manifest = load_model(run(ready, tmp_path / "run", quick_recipe(), prepared=store))
    assert manifest.training["best_step"] == 8
    assert manifest.training["best_dice"] is None


@pytest.mark.parametrize("name", ["thesis.tex", "pretrained.safetensors"])
def test_a_folder_with_other_files_is_not_replaced(ready: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / name).write_text("years of work")
    with pytest.raises(UserError, match=f"holds '{re.escape(name)}', which this command did not write"):
        run(ready, tmp_path, quick_recipe())
    assert (tmp_path / "model" / name).exists()


@pytest.mark.parametrize("blocked", ["model", "state"])
def test_a_place_that_cannot_be_written_is_named_before_training(ready: Path, tmp_path: Path, blocked: str) -> None:
    (tmp_path / "file").touch()
    places = {"model": tmp_path / "model", "state": tmp_path / "state"} | {blocked: tmp_path / "file" / blocked}
    with pytest.raises(UserError, match=r"(?s)cannot write: (Not a directory|File exists).*file"):
        train(
            prepared=ready / "prepared",
            recipe_name="tiny",
            recipe=quick_recipe(training={"steps": 10**6}),
            codec=ready / "codec",
            output=places["model"],
            last=tmp_path / "last",
            state=places["state"],
            quiet=True,
        )


def test_fp16_on_a_cpu_is_refused(ready: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        run(ready, tmp_path, quick_recipe(training={"precision": "fp16"}))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="fp16 trains on a GPU, and this machine has none")
def test_fp16_resumes_with_its_loss_scale(ready: Path, tmp_path: Path) -> None:
    chosen = quick_recipe(training={"precision": "fp16", "steps": 6})
    run(ready, tmp_path, chosen, device="cuda")
    whole, found = read_tensors(tmp_path / "last" / "weights.safetensors"), latest_state(tmp_path / "state")
    assert found is not None
    assert found.scaler is not None
    rewind(tmp_path)
    run(ready, tmp_path, chosen, device="cuda")
    again, resumed = read_tensors(tmp_path / "last" / "weights.safetensors"), latest_state(tmp_path / "state")
    assert resumed is not None
    assert resumed.scaler == found.scaler
    assert max(float((whole[name] - again[name]).abs().max()) for name in whole) < 1e-3  # a GPU adds in any order


def test_a_latent_recipe_without_a_codec_says_how_to_make_one(ready: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)needs a mask codec.*sdseg codec"):
        train(
            prepared=ready / "prepared",
            recipe_name="tiny",
            recipe=quick_recipe(),
            codec=None,
            output=tmp_path / "model",
            last=tmp_path / "last",
            state=tmp_path / "state",
        )
    assert not (tmp_path / "model").exists()


def test_a_direct_recipe_refuses_a_codec(ready: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)uses no mask codec.*--codec.*leave it out"):
        open_codec(direct_recipe(), ready / "codec", torch.device("cpu"))


def test_starts_from_another_model_and_records_which(ready: Path, tmp_path: Path) -> None:
    """Learning rate next to zero: the networks stay those of the start, though they begin as the codec's."""
    first = run(ready, tmp_path / "first", recipe(training={"steps": 2}))
    begin = read_tensors(first / "weights.safetensors")
    still = recipe(training={"steps": 2}, optimiser={"learning_rate": 1e-12, "weight_decay": 0.0})
    second = run(ready, tmp_path / "second", still, start_from=first)
    begun, (_, manifest) = read_tensors(second / "weights.safetensors"), load_model(second)
    checksum = sha256_file(first / "weights.safetensors")
    assert manifest.training["started_from"] == {"recipe": "tiny", "sha256": checksum}
    assert all(torch.allclose(begun[name], begin[name], atol=1e-6) for name in begin)
    _, fresh = load_model(run(ready, tmp_path / "second", still))  # in the same place, but another run
    assert fresh.training["started_from"] is None
