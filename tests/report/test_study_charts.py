"""Charts of calibration and studies: every mark inside the view box, at the place its value says, with its words."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from sdseg.artifacts.results.evaluation import CalibrationRecord
from sdseg.artifacts.results.studies import Robustness, Study, Sweep
from sdseg.report import study_charts
from sdseg.report.svg import BASE, LEFT, RIGHT, TOP
from tests.report.test_charts import inside

HEAD: dict[str, Any] = {"backend": "b", "split": "test", "n_cases": 3, "n_slices": 3, "size": 64}
HEAD |= {"data_checksum": "0", "model_checksum": "1"}


def drawn(chart: study_charts.Chart | None) -> ElementTree.Element:
    assert chart is not None
    svg = ElementTree.fromstring(str(chart.drawing))
    assert inside(svg)
    return svg


def sweep(*rows: tuple[int, int, float | None]) -> Sweep:
    made = [{"steps": steps, "samples": samples, "dice": dice} for steps, samples, dice in rows]
    return Sweep.model_validate({**HEAD, "rows": made})


def drawing_of(study: Study) -> study_charts.Chart:
    assert study.chart is not None
    return study_charts.line_chart(study.chart)


def titles(svg: ElementTree.Element) -> list[str]:
    return [title.text or "" for title in svg.iter("title")]


def test_a_reliability_diagram_has_a_dot_per_bin_with_pixels() -> None:
    bins: list[dict[str, Any]] = [
        {
            "low": abs(middle - 1 / 30),
            "high": middle + 1 / 30,
            "pixels": 300,
            "probability": middle,
            "positives": middle**1.3,
        }
        for middle in ((index + 0.5) / 15 for index in range(15))
    ]
    bins[0]["pixels"] = 40_000
    bins[7] |= {"pixels": 0, "probability": None, "positives": None}
    svg = drawn(study_charts.reliability(CalibrationRecord.model_validate({"ece": 0.0123, "bins": bins})))
    dots = svg.findall("circle")
    assert len(dots) == 14  # one of 15 bins has no pixel
    first = dots[0]
    assert float(first.attrib["cx"]) == pytest.approx(LEFT + (RIGHT - LEFT) / 30, abs=0.1)
    assert float(first.attrib["cy"]) == pytest.approx(BASE + (TOP - BASE) * (1 / 30) ** 1.3, abs=0.1)
    assert float(first.attrib["r"]) > float(dots[3].attrib["r"])  # more pixels
    assert titles(svg)[0] == "0.00 to 0.07: mean probability 0.033, positives 0.012, 40000 pixels"
    nothing = {"low": 0, "high": 1, "pixels": 0, "probability": None, "positives": None}
    assert study_charts.reliability(CalibrationRecord.model_validate({"ece": 0, "bins": [nothing]})) is None


def test_a_sweep_has_a_line_per_number_of_samples() -> None:
    chart = drawing_of(sweep((1, 1, 0.9), (10, 1, 0.92), (1, 5, 0.91), (10, 5, None), (20, 1, None)))
    svg = drawn(chart)
    assert chart is not None
    assert [name for _, name in chart.legend] == ["1 sample", "5 samples"]
    assert titles(svg) == ["1 sample: 1, Dice 0.900", "1 sample: 10, Dice 0.920", "5 samples: 1, Dice 0.910"]
    assert [text.text for text in svg.iter("text")].count("20") == 0  # no tick where nothing was measured
    at = [float(one.attrib["cx"]) for one in svg.findall("circle")]
    assert at == pytest.approx([LEFT + 8, RIGHT - 8], abs=0.1)


def test_a_sweep_of_one_step_or_none() -> None:
    assert len(drawn(drawing_of(sweep((1, 1, 0.9)))).findall("circle")) == 1
    assert sweep((10, 1, None)).chart is None
    chart = sweep((2, 1, 0.5), (1, 1, 0.0)).chart
    assert chart is not None
    assert chart.lines == {"1 sample": ((1, 0.0), (2, 0.5))}  # a Dice of 0 is a figure


def test_robustness_begins_with_the_clean_score() -> None:
    kinds = ("noise", "blur", "jpeg", "contrast", "resolution", "a sixth")
    levels = [{"level": level, "strength": 2.0 * level, "dice": 0.9 - 0.1 * level} for level in (1, 2, 3)]
    curves = [{"kind": kind, "unit": "grey levels", "levels": levels} for kind in kinds]
    found = Robustness.model_validate({**HEAD, "clean": {"dice": 0.9}, "curves": curves})
    chart = drawing_of(found)
    svg = drawn(chart)
    assert chart is not None
    assert [name for _, name in chart.legend] == list(kinds)
    lines = svg.findall("polyline")
    assert len(lines) == 6
    first = [float(value) for value in lines[0].attrib["points"].split()[0].split(",")]
    assert first[0] == LEFT + 8
    assert titles(svg)[:2] == [
        "noise, strengths 2, 4, 6 grey levels: 0, Dice 0.900",
        "noise, strengths 2, 4, 6 grey levels: 1, Dice 0.800",
    ]
    assert found.model_copy(update={"curves": ()}).chart is None
