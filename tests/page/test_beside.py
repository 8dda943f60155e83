"""Published figures beside ours, and what ours are marked with."""

from __future__ import annotations

from pathlib import Path

from sdseg.page.beside import paper_dice, tables
from sdseg.page.gather import gather
from sdseg.published import load_published
from tests.page.results_tree import edit_json, write_results

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
