"""What single changes are worth: benchmarks/changes.py over model folders, its table, and the page that shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.changes import main
from sdseg.artifacts.results.changes import ChangeRow
from sdseg.report.report import report
from sdseg.report.single_changes import changes_by_start
from tests.helpers.stage_results import StageResults
from tools.figure_tables import TABLES


def changed(name: str, against: str | None, val: float, **given: str) -> ChangeRow:
    fields = {"kind": "unet", "dataset": "a", "size": 64, "steps": 9, "cpu_seconds": 1.0, "seed": 0}
    return ChangeRow.checked(**fields, name=name, against=against, val=val, **given)


def test_the_best_change_stands_first_beside_what_it_was_started_from() -> None:
    rows = [
        changed("plain", None, 0.5),
        changed("wide", "plain", 0.4, trained_on="a GPU"),
        changed("alone", None, 0.9),
        changed("deep", "plain", 0.75),
    ]
    (group,) = changes_by_start(rows)
    assert group.start.name == "plain"
    assert [(each.name, group.gain(each)) for each in group.rows] == [
        ("deep", pytest.approx(0.25)),
        ("wide", pytest.approx(-0.1)),
    ]
    assert group.gpus == ("a GPU",)


def test_the_page_and_the_table_show_what_was_measured(
    stages: StageResults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, source in {"plain": "unet", "again": "unet-seed1", "rented": "unet-seed2", "latent": "sdseg"}.items():
        (tmp_path / "runs" / name / "model").mkdir(parents=True)
        manifest = (stages.folder / "cvc" / source / "model" / "config.json").read_bytes()
        (tmp_path / "runs" / name / "model" / "config.json").write_bytes(manifest)
    rented = tmp_path / "runs" / "rented" / "model" / "config.json"
    model = json.loads(rented.read_text("utf-8"))
    model["recipe"]["optimiser"]["learning_rate"] = 0.125
    model["training"]["device"] = "cuda"
    rented.write_text(json.dumps(model), "utf-8")
    results = stages.results(tmp_path, ("cvc",))
    arguments = ["--models", str(tmp_path / "runs"), "--output", str(results / "changes.json")]

    with pytest.raises(SystemExit, match="no run is named elsewhere"):
        main([*arguments, "--against", "elsewhere"])
    started = ["--against", "plain", "latent"]
    with pytest.raises(SystemExit, match="rented was trained on a GPU"):
        main([*arguments, *started])
    for word in ("rented", "rented=soon", "=2.5", "rented=-1", "rented=nan"):
        with pytest.raises(SystemExit, match="2"):
            main([*arguments, *started, "--cpu-seconds-per-step", word])
        assert f"'{word}' is no NAME=SECONDS" in capsys.readouterr().err
    assert main([*arguments, *started, "--cpu-seconds-per-step", "rented=2.5", "--gpu", "GPU X"]) == 0

    figures = json.loads((results / "changes.json").read_text("utf-8"))
    row = next(each for each in figures["rows"] if each["name"] == "rented")
    assert (row["against"], row["changes"]["optimiser.learning_rate"]) == ("plain", 0.125)
    assert (row["trained_on"], row["cpu_seconds"]) == ("GPU X", 2.5 * row["steps"])
    assert f"| ≈ {row['cpu_seconds']:.0f} | {row['val']:.3f} |" in TABLES["changes"](figures)

    (tmp_path / "damaged.json").write_text("{}", "utf-8")
    with pytest.raises(SystemExit, match="not a Changes"):
        main(["--models", str(tmp_path / "runs"), "--against", "plain", "--output", str(tmp_path / "damaged.json")])

    report(results, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("One change at a time from plain") == 1
    assert "<code>optimiser.learning_rate: 0.125</code>" in page
    assert "≈: trained on GPU X" in page
    assert "One change at a time from latent" not in page  # nothing was changed of it
    capsys.readouterr()
