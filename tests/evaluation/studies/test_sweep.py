"""Steps × samples: the figures of an evaluation, and pairs that a recipe does not allow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdseg.core.errors import UserError
from sdseg.evaluation.evaluate import evaluate
from sdseg.evaluation.studies.sweep import Grid, sweep
from tests.helpers.models import GAUSSIAN, subject_of, write_latent_model
from tests.helpers.tiny import write_model


def test_one_step_repeats_the_evaluation(tmp_path: Path) -> None:
    model = write_latent_model(tmp_path / "model", **GAUSSIAN)
    subject = subject_of(tmp_path, model, batch=2)
    rows = sweep(subject, Grid((1, 3), (1, 2))).content()["rows"]
    assert [(row["samples"], row["steps"]) for row in rows] == [(1, 1), (1, 3), (2, 1), (2, 3)]
    assert all(row["reason"] is None and row["seconds_per_image"] > 0 for row in rows)
    evaluate(subject.store.folder, model, tmp_path / "scores")
    summary = json.loads((tmp_path / "scores/summary.json").read_text("utf-8"))
    assert rows[0]["dice"] == pytest.approx(summary["dice"]["mean"], abs=1e-6)
    assert rows[0]["iou"] == pytest.approx(summary["iou"]["mean"], abs=1e-6)


def test_pairs_that_a_recipe_does_not_allow_have_a_reason_and_no_figure(tmp_path: Path) -> None:
    last = {"diffusion": {"train_timesteps": "last"}}
    rows = sweep(subject_of(tmp_path, write_latent_model(tmp_path / "model", **last)), Grid((1, 2), (1, 2))).content()[
        "rows"
    ]
    assert [row["dice"] is None for row in rows] == [False, True, True, True]
    assert "learns one timestep alone" in rows[1]["reason"]
    assert "would average equal answers" in rows[2]["reason"]


def test_a_plain_network_has_one_pass(tmp_path: Path) -> None:
    rows = sweep(subject_of(tmp_path, write_model(tmp_path / "model")), Grid((1, 2), (1,))).content()["rows"]
    assert rows[0]["dice"] is not None
    assert "one pass and one answer" in rows[1]["reason"]


@pytest.mark.parametrize("grid", [Grid((0,)), Grid((51,)), Grid(()), Grid(samples=(0,))])
def test_impossible_numbers_are_refused(tmp_path: Path, grid: Grid) -> None:
    with pytest.raises(UserError, match="these numbers make no sense"):
        sweep(subject_of(tmp_path, write_model(tmp_path / "model")), grid)
