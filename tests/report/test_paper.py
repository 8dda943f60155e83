"""Published figures beside ours, and what ours are marked with."""

from __future__ import annotations

import json
from pathlib import Path

from sdseg.report.collect import collect_results
from sdseg.report.paper import paper_dice, tables
from sdseg.report.published import load_published
from tests.helpers.stage_results import StageResults, edit_json

PUBLISHED = load_published(Path(__file__).resolve().parents[2] / "resources" / "paper")
WRITTEN = ("summary", "sweep", "efficiency", "stability")
LEVELS = ("masks", "probabilities")


def test_ours_never_stands_beside_a_published_figure_without_its_mark(stages: StageResults, tmp_path: Path) -> None:
    gathered = collect_results(stages.results(tmp_path, ("cvc",), ("sdseg",)))
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


def test_real_data_by_the_papers_protocol_compare(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc",), ("sdseg",), origin="real")
    edit_json(tmp_path / "cvc" / "sdseg" / "evaluation" / "summary.json", protocol="paper")
    assert paper_dice(collect_results(tmp_path).runs[0], "cvc", PUBLISHED).mark == ""


def test_rows_of_the_ablation_find_their_recipes_and_seeds(stages: StageResults, tmp_path: Path) -> None:
    for name in ("ablation-concatenation", "ablation-no-latent-loss-seed3", "unet"):
        stages.run(tmp_path / "btcv" / name)
    found = {table.number: table for table in tables(collect_results(tmp_path), PUBLISHED)}
    ours = {line.label: [one.run.recipe for one in line.ours] for line in found["6"].lines}
    assert ours["SDSeg · btcv · concatenation"] == ["ablation-concatenation"]
    assert ours["SDSeg · btcv · and a trained encoder"] == ["ablation-no-latent-loss-seed3"]
    assert ours["SDSeg · btcv · cross-attention"] == ours["SDSeg · refuge2 · concatenation"] == []


def test_tables_come_in_their_order_each_figure_beside_what_it_holds_for(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc",), ("sdseg",))
    edit_json(
        tmp_path / "cvc" / "prepared" / "manifest.json", source="btcv"
    )  # which the most figures were published of
    (run,) = collect_results(tmp_path).runs
    found = tables(collect_results(tmp_path), PUBLISHED)
    assert [table.number for table in found] == ["1", "2", "3", "4", "5", "6", "elsewhere"]
    ours = {
        (table.number, line.label, line.metric): [one.text for one in line.ours]
        for table in found
        for line in table.lines
    }
    written = {name: json.loads((run.folder / "evaluation" / f"{name}.json").read_text("utf-8")) for name in WRITTEN}
    (ten,) = (row for row in written["sweep"]["rows"] if (row["steps"], row["samples"]) == (10, 1))
    fastest = max(batch["images_per_second"] for batch in written["efficiency"]["latency"])
    masks, probabilities = (written["stability"]["instance_level"][level]["ssim"]["value"] for level in LEVELS)
    memory = json.loads((run.folder / "model" / "config.json").read_text("utf-8"))["training"]["memory"]
    assert ours["1", "SDSeg · btcv", "training cases"] == ["44"]
    assert ours["1", "SDSeg · btcv", "test cases"] == ["12"]
    assert ours["2", "SDSeg · btcv", "Dice"] == [f"{100 * written['summary']['dice_official']['mean']:.1f} %"]
    speed = f"{1 / ten['seconds_per_image']:.3g} slices/s by torch-cpu"
    assert ours["4", "SDSeg · btcv · 10 steps of DDIM", "images per second"] == [speed]
    assert ours["4", "SDSeg · btcv · 10 steps of DDIM", "Dice"] == [f"{100 * ten['dice']:.1f} % (mean of all cases)"]
    assert ours["4", "SDSeg · btcv · 1 step", "images per second"] == [f"{fastest:.3g} slices/s on cpu"]
    assert ours["4", "SDSeg · btcv", "training memory"] == [f"{memory['bytes'] / 1e9:.2g} GB: {memory['of']}"]
    assert ours["5", "SDSeg · btcv · masks", "SSIM"] == [f"{masks:.4g}"]
    assert ours["5", "SDSeg · btcv · probabilities", "SSIM"] == [f"{probabilities:.4g}"]
    (memory,) = (line for line in found[3].lines if line.label == "SDSeg · btcv" and line.metric == "training memory")
    assert memory.published == "about 12 GB"
