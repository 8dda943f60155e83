"""The command line: what it prints, and its exit status."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from sdseg import __version__
from sdseg.cli.assignments import assignments
from sdseg.cli.commands import main
from sdseg.core.errors import UserError
from tests.test_layers import VERBS


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sdseg", *map(str, words)], capture_output=True, encoding="utf-8", check=False
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"sdseg {__version__}\n"


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in VERBS)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])
    assert f"usage: sdseg {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: VERB"),
        (["trian"], "invalid choice: 'trian'"),
        (["prepare"], "the following arguments are required: --name"),
        (
            ["evaluate", "--prepared", "p", "--model", "m", "--output", "o", "--device", "gpu"],
            "'gpu' is none of cpu, cuda, cuda:N",
        ),
        (
            ["train", "--prepared", "p", "--recipe", "r", "--output", "o", "--device", "openvino"],
            "'openvino' is none of cpu, cuda, cuda:N",
        ),
        (
            ["phantoms", "--source", "kseg", "--output", "o", "--seed", "one"],
            "'one' is no whole number from 0 to 4294967295",
        ),
        (["predict", "a.png", "--model", "m", "--output", "o", "--inptu", "b"], "sdseg predict: error: unrecognized"),
    ],
)
def test_wrong_words(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert message in capsys.readouterr().err


def test_bad_input_is_one_message(tmp_path: Path) -> None:
    done = run(
        "prepare", "--name", "x", "--settings", tmp_path / "no.yaml", "--raw", tmp_path, "--split", "s", "--output", "o"
    )
    assert done.returncode == 2
    assert done.stderr.startswith("sdseg prepare: error: the file is missing\n  where:  ")
    assert "remedy: " in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_value_on_the_command_line_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("{description: d, network: {kind: direct}}", encoding="utf-8")
    words = ["train", "--prepared", "p", "--recipe", str(recipe), "--output", "o", "--set", "training.stepz=4"]
    assert main(words) == 2
    assert "unknown key 'training.stepz': did you mean 'steps'?" in capsys.readouterr().err


def test_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    output = tmp_path / "raw"
    words = ["phantoms", "--source", "kseg", "--scale", "1000", "--output", str(output)]
    process = subprocess.Popen(
        [sys.executable, "-m", "sdseg", *words],
        stderr=subprocess.PIPE,
        encoding="utf-8",
        # A shell that runs the tests in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 60
        while not any(tmp_path.glob(".raw.*/**/*.jpg")) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert shown.endswith("sdseg phantoms: interrupted\n")
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


def test_console_script_is_this_function(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    module, _, name = project["scripts"]["sdseg"].partition(":")
    assert getattr(import_module(module), name) is main


def test_assignments() -> None:
    pairs = [
        "training.steps=500",
        "training.precision=no",
        "network.denoiser.attention=[true, false]",
        "description=a=b",
    ]
    assert assignments(pairs) == {
        "training": {"steps": 500, "precision": False},  # YAML 1.1: quote a 'no'
        "network": {"denoiser": {"attention": [True, False]}},
        "description": "a=b",
    }


@pytest.mark.parametrize("pair", ["training.steps", "=5", ""])
def test_assignment_without_a_key_or_value(pair: str) -> None:
    with pytest.raises(UserError, match="is not KEY=VALUE"):
        assignments([pair])


@pytest.mark.parametrize("pairs", [["a=1", "a.b=2"], ["a=[1, 2"], ["a.b=1", "a=2", "a.c=3"]])
def test_assignments_that_do_not_fit(pairs: list[str]) -> None:
    with pytest.raises(UserError, match=r"does not fit|not valid YAML"):
        assignments(pairs)
