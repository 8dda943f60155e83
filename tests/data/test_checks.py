from __future__ import annotations

from zlib import crc32

import numpy as np
import pytest

from sdseg.config.dataset import Dataset
from sdseg.data.checks import Examination, examine, summary
from sdseg.data.intensities import Spread
from sdseg.data.read_case import CaseFacts
from sdseg.data.read_dataset import ReadCase
from sdseg.data.store import Case
from sdseg.datasets.source_lookup import declared_source
from sdseg.datasets.sources import SOURCES

DEPTHS = {"btcv": {"train": 2211, "test": 1568}, "sts": {"train": 2505, "test": 600}}


def seen(name: str, split: str = "train", *, slices: int = 1, bits: int | None = None, **content: object) -> ReadCase:
    """A case whose picture hash has the `bits` lowest of 256 bits set; None for one of its own."""
    spacing, axcodes = ((0.9, 0.9, 3.0), "LPS") if slices > 1 else ((), "")
    case = Case(name, name, split, 0, slices, name, name, 30, 40, slices, spacing, axcodes, (), "0")
    number = np.random.default_rng(crc32(name.encode())).integers(0, 2**63, 4, np.uint64)
    if bits is not None:
        number = np.packbits(np.arange(256) < bits).view(np.uint64)
    low, high = (float(str(content.pop(name, usual))) for name, usual in (("low", -1000), ("high", 900)))
    known = {
        "spread": Spread(low, low, low, high, high),
        "labels": tuple(range(1, 14)),
        "lost": (),
        "picture_hash": number[None],
    }
    return ReadCase(case, CaseFacts(**(known | content)))  # type: ignore[arg-type]


def judged(*cases: ReadCase, source: str = "btcv", **settings: object) -> Examination:
    chosen = Dataset.model_validate({"source": source} | settings)
    return examine(SOURCES[source], chosen, cases, [])


@pytest.mark.parametrize(
    ("settings", "forbidden"),
    [
        ({}, True),
        ({"origin": "sample"}, True),
        ({"protocol": "paper"}, False),
        ({"protocol": "sample", "origin": "sample"}, False),
        ({"origin": "phantom"}, False),
    ],
)
def test_the_same_picture_in_two_splits_is_an_error_under_the_clean_protocol(
    settings: dict[str, object], forbidden: bool
) -> None:
    found = judged(seen("a", bits=100), seen("b", "test", bits=110), seen("c", "val"), **settings)
    told = found.problems if forbidden else found.warnings
    same = "'a' (train) and 'b' (test) are the same picture (10 of 256 bits differ)"
    assert told == (f"{same}: both belong into one split",)
    assert (len(found.problems), len(found.warnings)) == ((1, 0) if forbidden else (0, 1))


def test_the_same_picture_within_a_split_is_only_recorded() -> None:
    found = judged(seen("a", bits=100), seen("b", bits=100), seen("c", "test", bits=121))
    assert (found.problems, found.warnings) == ((), ())
    assert found.facts["duplicates"] == [{"cases": ["a", "b"], "splits": ["train", "train"], "bits": 0.0}]


@pytest.mark.parametrize(("source", "split"), [("btcv", "train"), ("btcv", "test"), ("sts", "train"), ("sts", "test")])
@pytest.mark.parametrize("change", [-1, 0, 1])
def test_the_papers_slices_are_counted_where_its_volumes_are_all_there(source: str, split: str, change: int) -> None:
    number = DEPTHS[source][split]
    (count,) = [count for count in SOURCES[source].published if count.slices == number]
    ids = sorted(count.ids)
    deep = [number - 2 * (len(ids) - 1) + change, *[2] * (len(ids) - 1)]
    cases = [
        seen(name, slices=depth, labels=tuple(SOURCES[source].labels)) for name, depth in zip(ids, deep, strict=True)
    ]
    found = judged(*cases, source=source)
    expected = f"{count.what} have {number + change} slices, the paper counts {number}: another release?"
    assert found.problems == ((expected,) if change else ())
    assert judged(*cases, source=source, origin="sample").warnings == ((expected,) if change else ())
    assert judged(*cases[1:], source=source).problems == ()
    assert judged(*cases, source=source, origin="phantom").problems == ()


def test_the_published_ids_are_those_of_the_split_files() -> None:
    assert [len(count.ids) for count in SOURCES["btcv"].published] == [18, 12]
    assert [len(count.ids) for count in SOURCES["sts"].published] == [9, 3]


def test_what_is_odd_but_no_error_is_a_warning() -> None:
    found = judged(
        seen("none", labels=()),
        seen("small", lost=(12, 13)),
        seen("unsigned", slices=4, low=0),
        seen("plain", slices=4),
    )
    assert found.problems == ()
    assert found.warnings == (
        "1 case(s) have an empty mask: none",
        "1 case(s) lose a label at the working size, it is too small: small (12, 13)",
        "1 volume(s) hold no value below 0; Hounsfield units of air are -1000: unsigned",
    )
    (told,) = judged(seen("a", labels=(1,)), source="sts").warnings or ("",)
    assert told == ""
    assert judged(seen("a", labels=(1, 2, 3)), source="btcv").warnings[0] == "label 4 (gallbladder) occurs in no case"


def test_an_unlikely_spacing_is_named() -> None:
    case = seen("metres", slices=4)
    far = ReadCase(Case(**{**vars(case.case), "spacing": (0.9, 0.9, 3000.0)}), case.facts)
    assert judged(far).warnings == ("1 volume(s) have an unlikely spacing in mm: metres (0.9 × 0.9 × 3000)",)


def test_the_facts_add_up_and_the_summary_tells_them() -> None:
    cases = [seen("a", slices=3, labels=(1, 2)), seen("b", "val", slices=5, labels=(2,)), seen("c", "test", labels=())]
    settings = Dataset(source="btcv", origin="phantom")
    examination = examine(SOURCES["btcv"], settings, cases, ["img/x.nii.gz: cannot be read"])
    checked = examination.record("mine", settings)
    record = checked.content()
    assert record["cases"] == {"train": 1, "val": 1, "test": 1}
    assert record["slices"] == {"train": 3, "val": 5, "test": 1}
    assert record["sizes"] == {"smallest": [30, 40, 1], "largest": [30, 40, 5]}
    assert record["orientations"] == {"LPS": 2}
    assert record["intensities"] == [-1000, 900]
    assert record["labels"]["2"] == {"name": "right kidney", "cases": 2}
    assert record["empty_masks"] == ["c"]
    assert record["passed"] is False
    told = summary(checked)
    for part in (
        "1 train, 1 val, 1 test",
        "30 × 40 × 1 to 30 × 40 × 5",
        "2 LPS",
        "right kidney: in 2",
        "cannot be read",
    ):
        assert part in told


def test_nothing_seen_is_no_fault_of_the_summary() -> None:
    settings = Dataset(source="kseg")
    record = examine(SOURCES["kseg"], settings, [], ["a.jpg: broken"]).record("mine", settings)
    assert "a.jpg: broken" in summary(record)
    assert record.sizes is None


def test_areas_are_told_and_masks_that_cover_nearly_all(capsys: pytest.CaptureFixture[str]) -> None:
    cases = [seen(f"c{number}", areas=((1, share),)) for number, share in enumerate((0.1, 0.3, 0.9, 0.85))]
    told = judged(*cases, source="kseg", protocol="sample", origin="sample")
    assert told.facts["areas"] == {"polyp": {"cases": 4, "smallest": 0.1, "median": 0.575, "largest": 0.9}}
    (warning,) = (each for each in told.warnings if "covers" in each)
    assert warning == "'polyp' covers 80% or more of the image in 2 case(s), as if the mask was inverted: c2, c3"
    assert "area         polyp: 57.5 % of the image, 10 to 90 % (4 case(s))" in summary(
        told.record("x", Dataset(source="kseg"))
    )


def scan(name: str, low: float, p1: float, p99: float, high: float, **content: object) -> ReadCase:
    return seen(name, slices=4, spread=Spread(low, p1, (p1 + p99) / 2, p99, high), **content)


def test_values_of_another_scale_are_told() -> None:
    usual = [scan(f"c{number}", -1024, -1000, 300, 1500) for number in range(5)]
    told = judged(
        *usual,
        scan("pictures", 0, 0, 240, 255),
        scan("scores", -3, -2, 3, 6, notes=("values with fractions are rounded to whole numbers",)),
        scan("large", -10_000, -9000, 30_000, 32_767),
        origin="sample",
    )
    text = "\n".join(told.warnings)
    assert (
        "1 volume(s) hold values from 0 to 255 alone: grey levels, it seems, and no Hounsfield units: pictures" in text
    )
    assert (
        "in 1 volume(s) nearly all values lie outside the window from -175 to 250, or within 5% of it: scores" in text
    )
    assert "1 volume(s) hold values of another scale than most: large" in text
    assert "1 case(s): values with fractions are rounded to whole numbers: scores" in text
    assert not any("volume(s)" in each for each in judged(*usual, origin="sample").warnings)


@pytest.mark.parametrize(
    ("own", "lows", "told"),
    [
        (
            {"modality": "ct", "windows": {"soft": [-100, 200]}},
            (0, 0),
            "no value below 0 in 2 volume(s), and Hounsfield",
        ),
        ({"modality": "ct", "windows": {"soft": [-100, 200]}}, (0, -1), ""),  # one volume alone: a warning
        ({"modality": "ct", "windows": {"all": [0, 4000]}}, (0, 0), ""),
        ({"modality": "other", "normalisation": {"method": "window"}, "windows": {"w": [-9, 9]}}, (0, 0), ""),
        ({"modality": "mr"}, (-1024, -1024), "1 % of the values of most volumes lie at -1000 or below"),
        ({"modality": "pet"}, (0, 0), ""),
        ({"modality": "other"}, (-1024, -1024), ""),
    ],
)
def test_values_of_another_modality_are_one_problem(own: dict[str, object], lows: tuple[int, int], told: str) -> None:
    layout = {"layout": "folders", "images": "i", "masks": "m", "labels": {1: "organ"}}
    settings = Dataset.model_validate({"source": "own", "own": layout | own})
    assert settings.own is not None
    cases = [seen(f"c{number}", slices=3, low=low, high=1500) for number, low in enumerate(lows)]
    found = examine(declared_source(settings.own), settings, cases, [])
    assert len(found.problems) == (1 if told else 0)
    assert told in "".join(found.problems)
    assert not found.of_files
    assert not any(told and "below 0" in warning for warning in found.warnings)  # said once
