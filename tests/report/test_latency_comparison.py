"""Dice against latency: what benchmarks/pareto.py measures of a results folder, its table, and the page's charts."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, stdev

import pytest

from benchmarks.latency_subjects import Subject, role_of
from benchmarks.pareto import interleaved, main
from sdseg.artifacts.results.pareto import ParetoRow
from sdseg.core.files import write_json
from sdseg.report.latency_comparison import dice_by_latency
from sdseg.report.report import report
from tests.helpers.stage_results import StageResults
from tools.figure_tables import TABLES


def row(role: str, name: str, dice: float | None, **latency_ms: float) -> ParetoRow:
    given = {"scale": "a", "dataset": "a", "seeds": 3, "gflop": 1, "parameters": 1, "bytes": 1, "date": "2026-01-01"}
    return ParetoRow.checked(
        **given, role=role, name=name, dice_mean=dice, latency_ms=latency_ms, commits=["abc"], dice_sd=None
    )


def test_a_line_joins_the_recipes_of_a_role_by_their_latency() -> None:
    rows = [
        row("student", "fast", 0.7, torch=4.0, onnxruntime=1.5),
        row("student", "faster", 0.6, torch=3.0),
        row("teacher", "large", 0.8, torch=30.0, onnxruntime=12.0),
        row("unet", "untrained", None, torch=20.0),
    ]
    torch, onnxruntime = dice_by_latency(rows)
    assert (torch.title, onnxruntime.title) == ("Dice by latency, torch", "Dice by latency, onnxruntime")
    assert torch.lines == {"teacher": ((30000, 0.8),), "students": ((3000, 0.6), (4000, 0.7))}
    assert onnxruntime.lines == {"teacher": ((12000, 0.8),), "students": ((1500, 0.7),)}
    assert (torch.ticks[0], torch.ticks[-1], torch.logarithmic) == (2000, 50000, True)
    assert dice_by_latency([]) == ()


@pytest.mark.parametrize("words", [("--rounds", "-5"), ("--rounds", "0"), ("--threads", "0"), ("--threads", "x")])
def test_numbers_that_measure_nothing_are_refused(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*words])
    assert f"argument {words[0]}: '{words[1]}' is no whole number from 1" in capsys.readouterr().err


def test_further_seeds_join_the_dice_of_a_row(
    stages: StageResults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored = stages.folder / "cvc" / "unet"
    dice = json.loads((scored / "evaluation" / "summary.json").read_text("utf-8"))["dice"]["mean"]
    seed = json.loads((scored / "model" / "config.json").read_text("utf-8"))["recipe"]["training"]["seed"]
    earlier = {
        **row("unet", "unet", 0.5, torch=4.0).content(),
        "dataset": "cvc",
        "seeds": 1,
        "dice_by_seed": {"7": 0.5},
    }
    output, results = tmp_path / "pareto.json", tmp_path / "results"
    (results / "cvc").mkdir(parents=True)
    for name in ("prepared", "unet"):
        (results / "cvc" / name).symlink_to(stages.folder / "cvc" / name)

    def add(rows: list[dict[str, object]]) -> dict[str, object]:
        capsys.readouterr()
        write_json(output, {"command": "a", "commit": "abc", "date": "d", "machine": "m", "rows": rows})
        assert main(["--results", str(results), "--more-seeds", "--output", str(output)]) == 0
        figures = json.loads(output.read_text("utf-8"))
        assert figures["machine"] == "m"  # what was measured was measured there
        (found,) = figures["rows"]
        return found

    found = add([earlier])
    assert found["dice_by_seed"] == {str(seed): round(dice, 4), "7": 0.5}
    assert (found["seeds"], found["dice_mean"]) == (2, pytest.approx((dice + 0.5) / 2, abs=1e-4))
    assert found["dice_sd"] == pytest.approx(stdev([dice, 0.5]), abs=1e-4)
    assert found["latency_ms"] == {"torch": 4.0}  # as it was measured
    assert {"abc"} < set(found["commits"])  # type: ignore[call-overload]
    assert add([found]) == found  # the same seed again is the same row

    with pytest.raises(SystemExit, match="no row of cvc/unet that says which seeds its Dice is of"):
        add([{**earlier, "dice_by_seed": None}])
    scores = tmp_path / "scores alone" / "cvc" / "unet"
    scores.mkdir(parents=True)
    (scores / "evaluation").symlink_to(scored / "evaluation")
    with pytest.raises(SystemExit, match="nothing here was trained and scored"):
        main(["--results", str(tmp_path / "scores alone"), "--more-seeds", "--output", str(output)])
    with pytest.raises(SystemExit, match="2"):
        main(["--full", "recipe.yaml", "--more-seeds"])
    assert "--full trains nothing: it has no seeds to add" in capsys.readouterr().err
    output.write_text("{", "utf-8")
    with pytest.raises(SystemExit, match=r"pareto\.json"):
        main(["--results", str(results), "--more-seeds", "--output", str(output)])


def test_every_model_is_called_in_turn() -> None:
    calls: list[str] = []
    subjects = [
        Subject({}, None, {name: lambda _, call=model + name: calls.append(call) for name in "xy"}) for model in "ab"
    ]
    seconds = interleaved(subjects, rounds=2, warm_up=3, patience=60.0)
    assert calls == ["ax", "ay", "bx", "by"] * 5  # three of them to warm up
    assert {key: len(each) for key, each in seconds.items()} == {(0, "x"): 2, (0, "y"): 2, (1, "x"): 2, (1, "y"): 2}


def test_roles() -> None:
    latent = {"kind": "latent-diffusion"}
    direct = {"kind": "direct"}
    assert role_of({"network": direct}) == role_of({"network": direct, "distillation": None}) == "unet"
    assert role_of({"network": direct, "distillation": {"teacher": None}}) == "student"
    assert role_of({"network": latent}) == role_of({"network": latent, "distillation": None}) == "teacher"
    assert role_of({"network": {**latent, "mask_head": {"channels": [4]}}}) == "student"
    assert role_of({"network": latent, "distillation": {"teacher": None}}) == "student"


def test_the_page_and_the_table_show_what_was_measured(
    stages: StageResults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "pareto.json"
    assert main(["--results", str(stages.folder), "--output", str(output), "--rounds", "1"]) == 0
    figures = json.loads(output.read_text("utf-8"))
    (unet,) = (each for each in figures["rows"] if (each["dataset"], each["name"]) == ("cvc", "unet"))
    assert (unet["scale"], unet["role"]) == ("phantom", "unet")
    folders = [folder for folder in (stages.folder / "cvc").iterdir() if folder.name.startswith("unet")]
    dice = [json.loads((each / "evaluation/summary.json").read_text("utf-8"))["dice"]["mean"] for each in folders]
    assert (unet["seeds"], unet["dice_mean"]) == (len(dice), pytest.approx(fmean(dice), abs=1e-4))
    assert unet["bytes"] == (stages.folder / "cvc" / "unet" / "export" / "model.onnx").stat().st_size
    assert {"torch", "onnxruntime"} <= unet["latency_ms"].keys()
    assert min(unet["latency_ms"].values()) > 0
    assert f"| phantom | `unet` | unet | {unet['dice_mean']:.3f}" in TABLES["pareto"](figures)

    report(stages.results(tmp_path, ("cvc",)), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Dice by latency, onnxruntime" in page
    assert f">{unet['latency_ms']['torch']:.2f}<" in page
    capsys.readouterr()
    with pytest.raises(SystemExit, match="no such folder of results"):
        main(["--results", str(tmp_path / "none"), "--output", str(output)])
