"""What is set beside a score: marks, paired tests, seeds; and two folders side by side."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from sdseg.__main__ import main
from sdseg.errors import ListedError, UserError
from sdseg.page.beside import duels, over_runs, paper_dice, tables
from sdseg.page.gather import gather
from sdseg.page.plain import COLUMNS, records_of, table_of
from sdseg.page.versus import versus
from sdseg.published import load_published
from tests.page.results_tree import edit_json, write_results, write_run

PUBLISHED = load_published(Path(__file__).resolve().parents[2] / "resources" / "paper")


def test_ours_never_stands_beside_a_published_figure_without_its_mark(tmp_path: Path) -> None:
    gathered = gather(write_results(tmp_path, ("cvc",), ("sdseg",)))
    lines = [line for table in tables(gathered, PUBLISHED) for line in table.lines]
    ours = [one for line in lines for one in line.ours]
    assert ours
    assert {one.mark for one in ours} == {"phantoms, protocol clean"}
    assert not any(one.comparable for one in ours)
    assert paper_dice(gathered.runs[0], "cvc", PUBLISHED).mark == "ours: phantoms, protocol clean"
    assert all(
        line.published == "not at hand" for line in lines if line.label == "SDSeg · cvc" and line.source == "paper"
    )


def test_real_data_by_the_papers_protocol_compare(tmp_path: Path) -> None:
    write_results(tmp_path, ("cvc",), ("sdseg",), origin="real")
    edit_json(tmp_path / "cvc" / "sdseg" / "evaluation" / "summary.json", protocol="paper")
    assert paper_dice(gather(tmp_path).runs[0], "cvc", PUBLISHED).mark == ""


def test_recipes_are_tested_in_pairs_unless_they_differ(tmp_path: Path) -> None:
    write_results(tmp_path, ("cvc",))
    (duel,) = duels(gather(tmp_path).datasets[0])
    assert duel.found is not None
    a, b = (run.summary.dice.mean for run in (duel.a, duel.b))
    assert duel.found.difference == pytest.approx(b - a, abs=1e-6)
    edit_json(tmp_path / "cvc" / "unet" / "evaluation" / "summary.json", protocol="paper")
    (duel,) = duels(gather(tmp_path).datasets[0])
    assert (duel.found, duel.reason) == (None, "they differ in protocol")


def test_runs_named_by_seed_are_averaged(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / "cvc" / f"sdseg-seed{seed}", seed=seed)
    (row,) = over_runs(gather(tmp_path).datasets[0])
    means = [run.summary.dice.mean for run in gather(tmp_path).runs]
    assert (row.recipe, row.seeds, row.dice.mean) == ("sdseg", ("0", "1", "2"), pytest.approx(sum(means) / 3))


def test_two_folders_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_results(tmp_path / "a", ("cvc",)), write_results(tmp_path / "b", ("cvc",), ("sdseg",))
    assert main(["report", "--compare", str(a), str(b)]) == 0
    out = capsys.readouterr().out
    assert "+0.0000  1.0000" in out
    assert "only in A: cvc / unet" in out
    assert "Only in A:" in (a / "comparison.html").read_text(encoding="utf-8")
    edit_json(b / "cvc" / "sdseg" / "evaluation" / "summary.json", protocol="paper", data_checksum="0" * 64)
    with pytest.raises(
        ListedError, match=r"(?s)must not be compared.*protocol is clean in one and paper.*data_checksum"
    ):
        versus(gather(a), gather(b))
    with pytest.raises(UserError, match="no dataset and recipe is in both"):
        versus(gather(a), gather(write_results(tmp_path / "c", ("kseg",))))


def test_the_plain_tables_hold_the_same_figures(tmp_path: Path) -> None:
    gathered = gather(write_results(tmp_path, ("btcv", "cvc"), ("sdseg",)))
    rows = list(csv.DictReader(io.StringIO(table_of(gathered))))
    records = records_of(gathered)
    assert tuple(rows[0]) == COLUMNS
    assert float(rows[0]["dice_working"]) == records[0]["dice_working"] == gathered.runs[0].summary.dice.mean
    assert (rows[0]["hd95_working"], rows[1]["hd95_working"], rows[1]["dice_native"]) == ("3.25", "n/a", "n/a")
    json.dumps(records, allow_nan=False)
