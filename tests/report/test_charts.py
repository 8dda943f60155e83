"""Charts: every mark inside the view box, at the place its value says, readable without colour or sight."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdseg.artifacts.results.evaluation import CaseRow, ShareSummary
from sdseg.report import charts
from sdseg.report.svg import BASE, HEIGHT, LEFT, RIGHT, TOP, WIDTH, linear_ticks, log_ticks

scores = st.lists(st.floats(0, 1), min_size=1, max_size=60)


def drawn(chart: object) -> ElementTree.Element:
    assert chart is not None
    return ElementTree.fromstring(str(chart))


def inside(svg: ElementTree.Element) -> bool:
    names = {"x": WIDTH, "x1": WIDTH, "x2": WIDTH, "cx": WIDTH, "y": HEIGHT, "y1": HEIGHT, "y2": HEIGHT, "cy": HEIGHT}
    return all(
        -1 <= float(e.attrib[name]) <= most for e in svg.iter() for name, most in names.items() if name in e.attrib
    )


@given(scores)
def test_every_case_is_a_dot_or_counted_in_a_bar(values: list[float]) -> None:
    cases = [CaseRow(f"case {index}", value, value) for index, value in enumerate(values)]
    svg = drawn(charts.distribution(cases, charts.lower_end(values)))
    assert inside(svg)
    titles = [title.text or "" for title in svg.iter("title")]
    if svg.find("rect") is None:
        assert sorted(titles) == sorted(f"case {index}: {value:.3f}" for index, value in enumerate(values))
    else:
        assert sum(int(title.split()[0]) for title in titles) == len(values)
    assert f"{len(values)} cases" in svg.attrib["aria-label"]


def test_dots_become_bars_when_there_are_too_many() -> None:
    few = drawn(charts.distribution([CaseRow("a", 0.9, 0.8)] * 5, 0.0))
    many = drawn(charts.distribution([CaseRow("a", 0.9, 0.8)] * 500, 0.0))
    assert len(few.findall("circle")) == 5
    assert (many.findall("circle"), len(many.findall("rect"))) == ([], 1)


def test_names_of_cases_are_escaped() -> None:
    chart = str(charts.distribution([CaseRow("<script>&\"'", 0.5, 0.3)], 0.0))
    assert "<script" not in chart
    assert "&lt;script&gt;&amp;" in chart


def test_the_loss_falls_on_a_logarithmic_scale() -> None:
    svg = drawn(charts.loss_curve([(0, 1.0), (50, 0.1), (100, 0.01)]))
    faint = svg.find("polyline[@class='faint']")
    assert faint is not None
    points = [tuple(map(float, point.split(","))) for point in faint.attrib["points"].split()]
    assert points == [(LEFT, TOP), ((LEFT + RIGHT) / 2, (TOP + BASE) / 2), (RIGHT, BASE)]
    assert {"1", "0.1", "0.01"} <= {text.text for text in svg.iter("text")}


def test_points_without_a_logarithm_are_left_out() -> None:
    svg = drawn(charts.loss_curve([(1, 0.5), (2, math.nan), (3, 0.0), (4, math.inf), (5, 0.25)]))
    assert len(svg.findall("polyline")[0].attrib["points"].split()) == 2
    assert charts.loss_curve([(1, math.nan), (2, 0.0)]) is None
    assert charts.loss_curve([]) is None


def test_one_point_or_a_flat_loss_can_be_drawn() -> None:
    assert inside(drawn(charts.loss_curve([(10, 0.5)])))
    assert inside(drawn(charts.loss_curve([(0, 0.5), (10, 0.5)])))
    assert inside(drawn(charts.score_curve([(0, 0.0)], None)))


def test_long_curves_are_thinned_to_what_can_be_seen() -> None:
    points = [(step, 1 + math.sin(step) / 2) for step in range(100_001)]
    for line in drawn(charts.loss_curve(points)).findall("polyline"):
        steps = line.attrib["points"].split()
        assert len(steps) <= charts.MOST_POINTS + 1
        assert float(steps[-1].split(",")[0]) == RIGHT


def test_the_kept_step_is_marked_where_it_is() -> None:
    points = [(100, 0.5), (200, 0.9), (300, 0.8)]
    svg = drawn(charts.score_curve(points, 200))
    ring = svg.find("circle[@class='ring']")
    assert ring is not None
    assert float(ring.attrib["cx"]) == pytest.approx(LEFT + 2 / 3 * (RIGHT - LEFT), abs=0.1)
    assert "kept: 0.900" in [text.text for text in svg.iter("text")]
    assert drawn(charts.score_curve(points, 150)).find("circle[@class='ring']") is None
    assert charts.score_curve([], 100) is None


def test_a_whisker_shows_range_deviation_and_mean() -> None:
    svg = drawn(charts.whisker(ShareSummary(mean=0.75, sd=0.5, minimum=0.5, median=0.7, maximum=1.0), 0.5))
    dot, spread = svg.find("circle"), svg.find("line[@class='deviation']")
    assert dot is not None
    assert spread is not None
    assert float(dot.attrib["cx"]) == 60
    assert (float(spread.attrib["x1"]), float(spread.attrib["x2"])) == (4, 116)  # clipped to what a Dice can be


@given(st.lists(st.floats(0, 1), min_size=1))
def test_the_axis_of_scores_begins_below_the_smallest(values: list[float]) -> None:
    low = charts.lower_end(values)
    assert 0 <= low <= 0.9
    assert low <= min(values)


@given(st.floats(1e-9, 1e6), st.floats(1.2, 1e6))
def test_ticks_lie_in_their_range_and_are_few(low: float, factor: float) -> None:
    for ticks in (log_ticks(low, low * factor), linear_ticks(low, low * factor)):
        assert len(ticks) <= 6
        assert all(low * (1 - 1e-9) <= tick <= low * factor * (1 + 1e-9) for tick in ticks)
        assert ticks == sorted(ticks)
