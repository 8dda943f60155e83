"""Published figures beside ours, and what ours are marked with."""

from __future__ import annotations

from pathlib import Path

from sdseg.page.beside import paper_dice, tables
from sdseg.page.gather import gather
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


def test_rows_of_the_ablation_find_their_recipes_and_seeds(tmp_path: Path) -> None:
    for name in ("ablation-frozen-encoder", "ablation-no-latent-loss-seed3", "unet"):
        write_run(tmp_path / "cvc" / name)
    found = {table.number: table for table in tables(gather(tmp_path), PUBLISHED)}
    ours = {line.label: [one.run.recipe for one in line.ours] for line in found["6"].lines}
    assert ours["SDSeg · encoder frozen"] == ["ablation-frozen-encoder"]
    assert ours["SDSeg · no latent loss"] == ["ablation-no-latent-loss-seed3"]
    assert ours["SDSeg · cross-attention"] == []


def test_tables_come_in_their_order_and_speed_of_ten_steps_from_the_sweep(tmp_path: Path) -> None:
    found = tables(gather(write_results(tmp_path, ("cvc",), ("sdseg",))), PUBLISHED)
    assert [table.number for table in found] == ["2-3", "4", "5", "6", "elsewhere"]
    lines = {line.label: line for line in found[1].lines if line.metric == "images per second"}
    assert [one.text for one in lines["SDSeg · 10 steps of DDIM"].ours] == ["10 slices/s by torch-cpu"]
    assert [one.text for one in lines["SDSeg · 1 step"].ours] == ["100 slices/s on cpu"]
    (memory,) = (line for line in found[1].lines if line.metric == "training memory")
    assert (memory.label, memory.published) == ("SDSeg", "about 12 GB")
    assert [one.text for one in memory.ours] == ["1.2 GB: memory of the whole process"]
