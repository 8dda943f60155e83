"""Published figures beside ours, and what ours are marked with."""

from __future__ import annotations

from pathlib import Path

from sdseg.report.collect import collect_results
from sdseg.report.paper import paper_dice, tables
from sdseg.report.published import load_published
from tests.helpers.results_tree import edit_json, write_results, write_run

PUBLISHED = load_published(Path(__file__).resolve().parents[2] / "resources" / "paper")


def test_ours_never_stands_beside_a_published_figure_without_its_mark(tmp_path: Path) -> None:
    gathered = collect_results(write_results(tmp_path, ("cvc",), ("sdseg",)))
    lines = [line for table in tables(gathered, PUBLISHED) for line in table.lines]
    ours = [one for line in lines for one in line.ours]
    assert ours
    assert {one.mark for one in ours} == {"phantoms, protocol clean"}
    assert not any(one.comparable for one in ours)
    assert paper_dice(gathered.runs[0], "cvc", PUBLISHED).mark == "ours: phantoms, protocol clean"
    published = {
        line.metric: line.published for line in lines if line.label == "SDSeg · cvc" and line.source == "paper"
    }
    assert (published["Dice"], published["IoU"]) == ("95.8 %", "92.6 %")  # as the paper prints them


def test_real_data_by_the_papers_protocol_compare(tmp_path: Path) -> None:
    write_results(tmp_path, ("cvc",), ("sdseg",), origin="real")
    edit_json(tmp_path / "cvc" / "sdseg" / "evaluation" / "summary.json", protocol="paper")
    assert paper_dice(collect_results(tmp_path).runs[0], "cvc", PUBLISHED).mark == ""


def test_rows_of_the_ablation_find_their_recipes_and_seeds(tmp_path: Path) -> None:
    for name in ("ablation-concatenation", "ablation-no-latent-loss-seed3", "unet"):
        write_run(tmp_path / "btcv" / name)
    found = {table.number: table for table in tables(collect_results(tmp_path), PUBLISHED)}
    ours = {line.label: [one.run.recipe for one in line.ours] for line in found["6"].lines}
    assert ours["SDSeg · btcv · concatenation"] == ["ablation-concatenation"]
    assert ours["SDSeg · btcv · and a trained encoder"] == ["ablation-no-latent-loss-seed3"]
    assert ours["SDSeg · btcv · cross-attention"] == ours["SDSeg · refuge2 · concatenation"] == []


def test_tables_come_in_their_order_each_figure_beside_what_it_holds_for(tmp_path: Path) -> None:
    found = tables(collect_results(write_results(tmp_path, ("btcv",), ("sdseg",))), PUBLISHED)
    assert [table.number for table in found] == ["1", "2", "3", "4", "5", "6", "elsewhere"]
    ours = {
        (table.number, line.label, line.metric): [one.text for one in line.ours]
        for table in found
        for line in table.lines
    }
    assert ours["1", "SDSeg · btcv", "training cases"] == ["72"]
    assert ours["1", "SDSeg · btcv", "test cases"] == ["12"]
    assert ours["2", "SDSeg · btcv", "Dice"] == ["94.4 %"]
    assert ours["4", "SDSeg · btcv · 10 steps of DDIM", "images per second"] == ["10 slices/s by torch-cpu"]
    assert ours["4", "SDSeg · btcv · 10 steps of DDIM", "Dice"] == ["93.8 % (mean of all cases)"]
    assert ours["4", "SDSeg · btcv · 1 step", "images per second"] == ["100 slices/s on cpu"]
    assert ours["4", "SDSeg · btcv", "training memory"] == ["1.2 GB: memory of the whole process"]
    assert ours["5", "SDSeg · btcv · masks", "SSIM"] == ["1"]
    assert ours["5", "SDSeg · btcv · probabilities", "SSIM"] == ["0.9812"]
    (memory,) = (line for line in found[3].lines if line.label == "SDSeg · btcv" and line.metric == "training memory")
    assert memory.published == "about 12 GB"
