"""The committed tables of the paper, and what the loader refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sdseg.core.errors import ListedError, UserError
from sdseg.datasets.sources import SOURCES
from sdseg.report.published import NOT_AT_HAND, load_published

SOURCE = "sources:\n  paper: {title: A paper, url: https://example.org}\n"
FIGURE = "{method: M, dataset: cvc, metric: dice, unit: percent, value: 90, source: paper}"


def write(folder: Path, *figures: str, name: str = "t.yaml", table: str = "1") -> Path:
    (folder / "sources.yaml").write_text(SOURCE, encoding="utf-8")
    lines = "\n".join(f"  - {figure}" for figure in figures)
    (folder / name).write_text(f'table: "{table}"\ncaption: C\nfigures:\n{lines}\n', encoding="utf-8")
    return folder


def test_committed_tables(root: Path) -> None:
    published = load_published(root / "resources" / "paper")
    assert set(published.tables) == {"1", "2", "3", "4", "5", "6", "elsewhere"}
    figures = [figure for table in published.tables.values() for figure in table]
    assert {figure.dataset for figure in figures} <= {*SOURCES, None}
    recipes = {path.stem for path in (root / "config" / "recipes").glob("*.yaml")}
    assert {figure.recipe for figure in figures if figure.recipe} <= recipes
    for figure in figures:
        if figure.unit == "percent" and figure.value is not None:
            assert 20 < figure.value <= 100
    for table, datasets in (("2", ("btcv", "sts", "refuge2")), ("3", ("cvc", "kseg", "refuge2"))):
        for dataset in datasets:
            (dice,) = published.find(table, method="SDSeg", dataset=dataset, metric="dice")
            others = published.find(table, dataset=dataset, metric="dice")
            assert dice.value == max(other.value for other in others if other.value is not None)  # as the paper claims
    assert len(published.find("6", metric="dice")) == len(published.find("6", metric="iou")) == 8  # 4 rows, 2 datasets


def test_text_and_share_of_a_figure(root: Path, tmp_path: Path) -> None:
    published = load_published(root / "resources" / "paper")
    (speed,) = published.find("4", method="SDSeg", metric="images_per_second", condition="1 step")
    assert (speed.value, speed.text, speed.share) == (8.36, "8.36 slices/s", 8.36)
    (theirs,) = published.find("elsewhere", method="SDSeg", dataset="cvc", metric="dice", source="leaf")
    assert (theirs.text, theirs.share) == ("93.6 %", pytest.approx(0.936))
    assert published.find("9") == ()
    (unknown,) = load_published(write(tmp_path, FIGURE.replace("value: 90", "value: null"))).find("1")
    assert (unknown.text, unknown.share) == (NOT_AT_HAND, None)


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ([FIGURE.replace("source: paper", "source: memory")], "source 'memory' is not in sources.yaml"),
        ([FIGURE, FIGURE.replace("90", "91")], "M cvc dice paper: there twice"),
        ([FIGURE.replace("value: 90", "value: .nan")], "value: Input should be a finite number"),
        ([FIGURE.replace("value: 90, ", "")], "missing key 'figures.0.value'"),
        ([FIGURE.replace("metric", "metrik")], "did you mean 'metric'"),
    ],
)
def test_refused(figures: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ListedError, match=re.escape(message)):
        load_published(write(tmp_path, *figures))


def test_missing_or_double(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the file is missing"):
        load_published(tmp_path)
    write(tmp_path, FIGURE)
    write(tmp_path, FIGURE, name="u.yaml")
    with pytest.raises(UserError, match="table 1 is there twice"):
        load_published(tmp_path)
