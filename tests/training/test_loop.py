"""Several processes: what they learn together is what one learns alone."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from sdseg.core.errors import UserError
from sdseg.models.model_folder import load_model, read_tensors
from sdseg.training.setup import check_possible
from sdseg.training.state import latest_state
from tests.helpers.loaded_python import python
from tests.helpers.networks import recipe
from tests.helpers.training import events, run, write_inputs

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = (
    *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--main_process_port", "0", "--dynamo_backend", "no", "--mixed_precision", "no"),
)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def launched(ready: Path, place: Path, text: str, *program: str) -> subprocess.CompletedProcess[str]:
    """Train a recipe in two processes on the CPU."""
    with started(ready, place, text, *program) as process:
        out, told = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, told)


def started(ready: Path, place: Path, text: str, *program: str) -> subprocess.Popen[str]:
    place.mkdir(exist_ok=True)
    (place / "recipe.yaml").write_text(text, "utf-8")
    paths = {"prepared": ready / "prepared", "codec": ready / "codec", "recipe": place / "recipe.yaml"}
    words = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    words += ["--output", str(place / "model"), "--name", "tiny", "--quiet"]
    return subprocess.Popen(
        [str(python()), *LAUNCH, *program, "train", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def test_two_processes_make_the_steps_of_one(ready: Path, tmp_path: Path) -> None:
    """Accumulated too. The rate is the smaller one of real recipes: Adam divides by the gradient's size, so that where
    a gradient is nothing but rounding it turns that into whole steps.
    """
    chosen = recipe(training={"steps": 10, "accumulate": 2}, optimiser={"learning_rate": 1e-4})
    done = launched(ready, tmp_path / "two", yaml.safe_dump(chosen.model_dump(mode="json")), "-m", "sdseg")
    assert done.returncode == 0, done.stderr
    run(ready, tmp_path / "one", chosen)
    run(
        ready,
        tmp_path / "half",
        chosen.model_copy(update={"training": chosen.training.model_copy(update={"batch": 2})}),
    )
    for name in ("model", "last"):
        one, two, half = (
            read_tensors(tmp_path / place / name / "weights.safetensors") for place in ("one", "two", "half")
        )
        assert max(float((one[key] - two[key]).abs().max()) for key in one) < 1e-5
        assert max(float((one[key] - half[key]).abs().max()) for key in one) > 1e-4  # one process's share alone
    _, manifest = load_model(tmp_path / "two" / "model")
    assert manifest.training["processes"] == 2
    assert manifest.training["memory"]["bytes"] > 50_000_000  # PyTorch alone takes more

    def losses(place: str) -> list[float]:
        return [event["loss"] for event in events(tmp_path / place / "model", "step")]

    assert losses("two") == pytest.approx(losses("one"), rel=1e-5)  # of the whole batch, and written once


def test_two_processes_that_are_asked_to_end_leave_after_the_same_step(ready: Path, tmp_path: Path) -> None:
    """The launcher passes the signal on to each, at another moment of the step each."""
    text = yaml.safe_dump(recipe(training={"steps": 400, "checkpoint_every": 1000}).model_dump(mode="json"))
    journal, deadline = tmp_path / "two" / "state" / "training.jsonl", time.monotonic() + 200
    with started(ready, tmp_path / "two", text, "-m", "sdseg") as process:
        while not journal.exists() or len(journal.read_text("utf-8").splitlines()) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=100)[1]
    assert process.returncode != 0
    kept = latest_state(tmp_path / "two" / "state")
    assert kept is not None
    assert 3 <= kept.step < 400
    assert told.count(f"sdseg train: stopped after step {kept.step} of 400; the state is saved") == 2


def test_a_batch_that_processes_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match=r"(?s)batch of 4 cannot be shared by 3 processes.*a multiple of 3"):
        check_possible(recipe(), "cpu")
