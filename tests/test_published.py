"""The committed tables of the paper, and what the loader refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdseg.data.sources import SOURCES
from sdseg.errors import ListedError, UserError
from sdseg.published import NOT_AT_HAND, load_published

SOURCE = "sources:\n  paper: {title: A paper, url: https://example.org}\n"
FIGURE = "{method: M, dataset: cvc, metric: dice, unit: percent, value: 90, source: paper}"


def write(folder: Path, *figures: str, name: str = "t.yaml", table: str = "1") -> Path:
    (folder / "sources.yaml").write_text(SOURCE, encoding="utf-8")
    lines = "\n".join(f"  - {figure}" for figure in figures)
    (folder / name).write_text(f'table: "{table}"\ncaption: C\nfigures:\n{lines}\n', encoding="utf-8")
    return folder


def test_committed_tables(root: Path) -> None:
    published = load_published(root / "resources" / "paper")
    assert set(published.tables) == {"2-3", "4", "5", "6", "elsewhere"}
    figures = [figure for table in published.tables.values() for figure in table]
    assert {figure.dataset for figure in figures} <= {*SOURCES, None}
    recipes = {path.stem for path in (root / "config" / "recipes").glob("*.yaml")}
    assert {figure.recipe for figure in figures if figure.recipe} <= recipes
    for figure in figures:
        if figure.unit == "percent" and figure.value is not None:
            assert 50 < figure.value <= 100
    for dataset in ("btcv", "sts", "refuge2", "cvc", "kseg"):
        assert len(published.find("2-3", method="SDSeg", dataset=dataset)) == 2


def test_a_figure_that_is_not_at_hand_is_no_number(root: Path) -> None:
    published = load_published(root / "resources" / "paper")
    (speed,) = published.find("4", method="SDSeg", metric="images_per_second", condition="1 step")
    assert (speed.value, speed.text, speed.share) == (8.36, "8.36 slices/s", 8.36)
    (theirs,) = published.find("elsewhere", method="SDSeg", dataset="cvc", metric="dice", source="leaf")
    assert (theirs.text, theirs.share) == ("93.6 %", pytest.approx(0.936))
    for figure in (one for table in published.tables.values() for one in table if one.value is None):
        assert (figure.text, figure.share) == (NOT_AT_HAND, None)
        assert figure.source == "paper"
    assert published.find("9") == ()


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
    with pytest.raises(ListedError) as caught:
        load_published(write(tmp_path, *figures))
    assert message in str(caught.value)


def test_missing_or_double(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the file is missing"):
        load_published(tmp_path)
    write(tmp_path, FIGURE)
    write(tmp_path, FIGURE, name="u.yaml")
    with pytest.raises(UserError, match="table 1 is there twice"):
        load_published(tmp_path)
