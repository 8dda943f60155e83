"""The command: every study into its file, beside the scores; latents before training are what training starts from."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from pydantic import ValidationError

from sdseg.artifacts.results.evaluation import EvaluationSummary
from sdseg.artifacts.results.studies import STUDIES
from sdseg.cli.commands import main
from sdseg.evaluation.evaluate import evaluate
from sdseg.evaluation.studies.latents import Origins, latents
from sdseg.evaluation.studies.studied_model import Scope, open_subject
from tests.helpers.networks import recipe
from tests.helpers.training import run, write_inputs

TINY = ["--batch", "2", "--steps", "1,2", "--samples", "1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs, and a model of one training step that changes next to nothing."""
    place = write_inputs(tmp_path_factory.mktemp("studies é"))
    still = {"learning_rate": 1e-12, "warmup_steps": 0}
    run(place, place, recipe(optimiser=still, training={"steps": 1, "ema_decay": 0.0, "seed": 7}))
    return place


def test_every_study_of_one_command(trained: Path) -> None:
    output, inputs = trained / "evaluation", [f"--prepared={trained / 'prepared'}", f"--model={trained / 'model'}"]
    evaluate(trained / "prepared", trained / "model", output)
    flags = ["--sweep", "--stability", "2", "--robustness", "--latents", "--codec", str(trained / "codec")]
    assert main(["evaluate", *inputs, f"--output={output}", *flags, *TINY, "--limit", "1"]) == 0
    for name in ("sweep", "stability", "robustness", "latents"):
        record = json.loads((output / f"{name}.json").read_text("utf-8"))
        assert (record["study"], record["n_cases"], record["recipe"]) == (name, 1, "tiny")
        assert STUDIES[name].record.checked(**record).content() == record  # the page's schema holds all of it
    summary = json.loads((output / "summary.json").read_text("utf-8"))
    assert EvaluationSummary.checked(**summary).content() == summary
    assert EvaluationSummary.model_validate(summary | {"of a later version": 1}).content() == summary
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        EvaluationSummary.checked(**summary, missing_from_the_schema=1)
    for name in ("sweep.png", "robustness.png", "latents/masks.png", "latents/conditions.png"):
        assert cv2.imread(str(output / name)) is not None
    assert (output / "summary.json").exists()
    evaluate(trained / "prepared", trained / "model", output)  # scored anew: the studies are out of date, and gone
    assert not (output / "sweep.json").exists()


def test_conditions_before_training_are_those_training_starts_from(trained: Path, tmp_path: Path) -> None:
    subject = open_subject(trained / "prepared", trained / "model", Scope())
    found = latents(subject, Origins(codec=trained / "codec"), tmp_path)
    assert found.conditions.relative_change is not None
    assert found.conditions.relative_change < 1e-5
    without = latents(subject, Origins(), tmp_path / "without")
    assert without.conditions.file is without.masks.file is None
    assert "no codec was named" in (without.masks.reason or "")


def test_an_option_without_its_study_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--prepared=p", "--model=m", f"--output={tmp_path}", "--limit=3"]) == 2
    assert "it means nothing without a study" in capsys.readouterr().err
