"""A results folder as a whole: what is found, what is missing, and what is said about it."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from sdseg.cli.commands import HANDLERS
from sdseg.cli.parser import build_parser
from sdseg.core.errors import UserError
from sdseg.report.collect import collect_results
from sdseg.report.report import print_table, report
from tests.helpers.stage_results import StageResults, edit_json


def test_every_run_is_found_in_alphabetical_order(stages: StageResults, tmp_path: Path) -> None:
    folder = stages.results(tmp_path / "Résultats d'été", ("kseg", "cvc"), ("unet", "sdseg"))
    (folder / "logs").mkdir()
    (folder / "codecs" / "small" / "codec").mkdir(parents=True)
    (folder / ".cvc.part" / "sdseg" / "evaluation").mkdir(parents=True)
    (folder / "report.html").write_text("an earlier page")
    gathered = collect_results(folder)
    assert [(run.dataset, run.recipe) for run in gathered.runs] == [
        ("cvc", "sdseg"),
        ("cvc", "unet"),
        ("kseg", "sdseg"),
        ("kseg", "unet"),
    ]
    assert gathered.origins == {"phantom": 4}
    assert gathered.unscored == ()
    assert all(run.cases and run.overlays and run.model and run.curves and run.parity for run in gathered.runs)


def test_the_ceiling_is_the_codecs_and_absent_without_one(stages: StageResults, tmp_path: Path) -> None:
    latent, direct = collect_results(stages.results(tmp_path, ("cvc",))).runs
    measured = json.loads((latent.folder / "model" / "config.json").read_text("utf-8"))["training"]["codec_ceiling"]
    assert (latent.ceiling, direct.ceiling) == (measured["dice"], None)
    edit_json(latent.folder / "evaluation" / "summary.json", codec_ceiling=None)
    assert collect_results(tmp_path).runs[0].ceiling == measured["dice"]  # from the model's own record


def test_missing_parts_are_none_and_their_commands_can_be_run(stages: StageResults, tmp_path: Path) -> None:
    folder = stages.results(tmp_path / "mes résultats", ("cvc",), ("sdseg",))
    for part in ("export", "evaluation/overlays", "model"):
        shutil.rmtree(folder / "cvc" / "sdseg" / part)
    (folder / "cvc" / "sdseg" / "evaluation" / "cases.csv").unlink()
    (folder / "cvc" / "prepared" / "manifest.json").unlink()
    gathered = collect_results(folder)
    (run,) = gathered.runs
    assert (run.parity, run.cases, run.overlays, run.model, run.curves) == (None, None, (), None, None)
    assert gathered.datasets[0].prepared is None
    for verb in ("evaluate", "export"):
        _, _, _, *words = shlex.split(run.commands[verb])
        parsed = build_parser(HANDLERS).parse_args(words)
        assert parsed.verb == verb
        model = folder / "cvc" / "sdseg" / "model"
        assert parsed.model == ([model] if verb == "evaluate" else model)
        assert parsed.prepared == folder / "cvc" / "prepared"


def test_the_command_that_evaluates_again_does_what_was_done(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc",), ("sdseg",))
    summary = tmp_path / "cvc" / "sdseg" / "evaluation" / "summary.json"
    edit_json(summary, split="val", native=None)
    (run,) = collect_results(tmp_path).runs
    assert run.commands["evaluate"].endswith("/evaluation --split val")  # at the working size, as then
    assert run.commands["sweep"].endswith("/evaluation --split val --sweep")
    edit_json(summary, source="own", native={"metrics": {}, "structures": {}})
    (run,) = collect_results(tmp_path).runs
    assert run.commands["evaluate"].endswith(f"--split val --raw RAW --settings {tmp_path}/cvc/dataset.yaml")
    edit_json(summary, predictions="masks", recipe="nnU-Net")
    (run,) = collect_results(tmp_path).runs
    assert "--predictions masks --name nnU-Net" in run.commands["evaluate"]
    assert run.commands["evaluate"].endswith(f"--split val --raw RAW --settings {tmp_path}/cvc/dataset.yaml")


def test_a_model_without_scores_is_listed_with_the_command_that_scores_it(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc",), ("sdseg", "unet"))
    shutil.rmtree(tmp_path / "cvc" / "unet" / "evaluation")
    gathered = collect_results(tmp_path)
    assert [run.recipe for run in gathered.runs] == ["sdseg"]
    (one,) = gathered.unscored
    assert (one.dataset, one.recipe) == ("cvc", "unet")
    assert one.command.startswith("python -m sdseg evaluate --prepared ")


def test_an_evaluation_without_its_summary_is_an_error(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc", "kseg"), ("sdseg",))
    (tmp_path / "kseg" / "sdseg" / "evaluation" / "summary.json").unlink()
    with pytest.raises(UserError, match=r"(?s)summary of the scores is missing.*kseg/sdseg/evaluation/summary\.json"):
        collect_results(tmp_path)


def test_a_folder_without_any_summary_is_an_error(stages: StageResults, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing was scored here"):
        collect_results(tmp_path)
    stages.run(tmp_path / "cvc" / "sdseg")
    shutil.rmtree(tmp_path / "cvc" / "sdseg" / "evaluation")
    with pytest.raises(UserError, match=r"(?s)nothing was scored here.*remedy: python -m sdseg evaluate"):
        collect_results(tmp_path)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)no such folder of results.*nowhere"):
        collect_results(tmp_path / "nowhere")


def test_runs_that_do_not_compare_are_told_apart(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc",))
    assert collect_results(tmp_path).datasets[0].differing == ()
    edit_json(tmp_path / "cvc" / "unet" / "evaluation" / "summary.json", protocol="paper", data_checksum="0" * 64)
    assert collect_results(tmp_path).datasets[0].differing == ("protocol", "data_checksum")


def test_scores_and_exports_of_other_weights_are_marked(
    stages: StageResults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages.results(tmp_path, ("cvc",), ("sdseg",))
    (run,) = collect_results(tmp_path).runs
    assert run.other_weights == {}
    config = run.folder / "model" / "config.json"
    files = json.loads(config.read_text("utf-8"))["files"]
    edit_json(config, files=dict.fromkeys(files, "0" * 64))  # trained anew
    (run,) = collect_results(tmp_path).runs
    scored, exported = "scored with other weights", "exported from other weights"
    assert run.other_weights == {scored: run.commands["evaluate"], exported: run.commands["export"]}
    report(tmp_path, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert all(text in page for text in (scored.capitalize(), exported.capitalize(), run.commands["export"]))
    print_table(tmp_path, tmp_path / "report.html")
    assert f"{scored}: cvc / sdseg\n{exported}: cvc / sdseg\n" in capsys.readouterr().out
    edit_json(run.folder / "evaluation" / "summary.json", backend="onnxruntime-cpu")  # its checksum is the graph's
    (run,) = collect_results(tmp_path).runs
    assert list(run.other_weights) == [exported]
