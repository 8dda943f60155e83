"""The figures without the page: the same ones, n/a where there is none, and a line over the seeds of a recipe."""

from __future__ import annotations

import csv
import io
import json
import statistics
from pathlib import Path

import pytest

from sdseg.report.collect import collect_results
from sdseg.report.csv_export import COLUMNS, records_of, records_over_seeds, table_of
from sdseg.report.report import report
from tests.helpers.stage_results import StageResults, edit_json


def test_the_plain_tables_hold_the_same_figures(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("btcv", "cvc"), ("sdseg",))
    edit_json(tmp_path / "cvc" / "sdseg" / "evaluation" / "summary.json", native=None)
    gathered = collect_results(tmp_path)
    first = json.loads((tmp_path / "btcv" / "sdseg" / "evaluation" / "summary.json").read_text("utf-8"))
    rows = list(csv.DictReader(io.StringIO(table_of(gathered))))
    records = records_of(gathered)
    assert tuple(rows[0]) == COLUMNS
    for place in ("native", "working"):
        for metric in ("dice", "hd95"):
            name, mean = f"{metric}_{place}", first[place]["metrics"][metric]["mean"]
            assert float(rows[0][name]) == records[0][name] == mean
    assert (rows[1]["hd95_working"], rows[1]["dice_native"]) == ("n/a", "n/a")
    json.dumps(records, allow_nan=False)


def test_a_line_over_seeds_has_mean_and_deviation_over_them(stages: StageResults, tmp_path: Path) -> None:
    for seed in range(3):
        stages.run(tmp_path / "cvc" / f"sdseg-seed{seed}", seed=seed)
    stages.run(tmp_path / "cvc" / "unet", seed=9)
    report(tmp_path, tmp_path / "report.html")
    written = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert [run["seeds"] for run in written["runs"]] == [None] * 4
    (over,) = written["over_seeds"]
    dice = [run["dice_working"] for run in written["runs"][:3]]
    assert (over["recipe"], over["seeds"], over["dice_working_n"], over["n_cases"]) == ("sdseg", "0 1 2", 3, 12)
    assert over["dice_working"] == pytest.approx(statistics.mean(dice))
    assert over["dice_working_sd"] == pytest.approx(statistics.stdev(dice))
    assert (over["dice_working_low"], over["hd95_working"]) == (None, None)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "summary.csv").read_text("utf-8"))))
    assert [row["seeds"] for row in rows] == ["n/a"] * 4 + ["0 1 2"]
    assert float(rows[-1]["dice_working_sd"]) == over["dice_working_sd"]


def test_no_mean_over_some_of_the_seeds(stages: StageResults, tmp_path: Path) -> None:
    for seed in range(2):
        stages.run(tmp_path / "cvc" / f"sdseg-seed{seed}", seed=seed)
    edit_json(tmp_path / "cvc" / "sdseg-seed1" / "evaluation" / "summary.json", dice_official=None)
    (over,) = records_over_seeds(collect_results(tmp_path))
    assert over["dice_official"] is None
    assert over["dice_working"] is not None
