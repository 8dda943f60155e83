"""LIDC-IDRI: outlines of four readers to masks, slices to cases, and every fault of its files named."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sdseg.config.dataset import Dataset
from sdseg.core.errors import ListedError, UserError
from sdseg.data.native_labels import NativeLabels
from sdseg.data.prepare import prepare
from sdseg.data.store import SliceStore
from sdseg.datasets.lidc_xml import READERS, read_markup
from sdseg.datasets.phantoms import write_phantoms
from sdseg.datasets.raw_cases import open_raw
from sdseg.datasets.split import split

DATASET = Dataset(source="lidc", origin="phantom", size=96)
HEADER = "<ResponseHeader><SeriesInstanceUid>1.2.3</SeriesInstanceUid></ResponseHeader>"


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lidc")
    write_phantoms("lidc", folder, seed=2, scale=0.05)
    return folder


@pytest.fixture
def raw(phantom: Path, tmp_path: Path) -> Path:
    return shutil.copytree(phantom, tmp_path / "raw")


def markup_of(folder: Path, number: int = 1) -> Path:
    (path,) = folder.rglob(f"{number:03d}.xml")
    return path


def roi(points: list[tuple[int, int]], inclusion: str = "TRUE", uid: str = "1.2.3.1", z: float = 5.0) -> str:
    edges = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points)
    slice_uid = f"<imageSOP_UID>{uid}</imageSOP_UID>" if uid else ""
    return f"<roi><imageZposition>{z}</imageZposition>{slice_uid}<inclusion>{inclusion}</inclusion>{edges}</roi>"


def write_markup(path: Path, *nodules: str) -> Path:
    """One reader's nodules, each some outlines."""
    inner = "".join(f"<unblindedReadNodule><noduleID>1</noduleID>{nodule}</unblindedReadNodule>" for nodule in nodules)
    session = f"<readingSession>{inner}</readingSession>"
    text = f'<LidcReadMessage xmlns="http://www.nih.gov">{HEADER}{session}</LidcReadMessage>'
    path.write_text(text, encoding="utf-8")
    return path


def square(low: int, high: int) -> list[tuple[int, int]]:
    """The border pixels of a square, one after the other, as readers' marks are stored."""
    along = range(low, high)
    top, right = [(x, low) for x in along], [(high, y) for y in along]
    bottom, left = [(high + low - x, high) for x in along], [(low, high + low - y) for y in along]
    return [*top, *right, *bottom, *left, (low, low)]


def test_the_outline_itself_is_outside_of_the_nodule(tmp_path: Path) -> None:
    path = write_markup(tmp_path / "one.xml", roi(square(2, 6)))
    mask = read_markup(path).mask(0, "1.2.3.1", 5.0, (12, 9))
    expected = np.zeros((9, 12), np.bool_)
    expected[3:6, 3:6] = True
    assert np.array_equal(mask, expected)
    assert not read_markup(path).mask(0, "1.2.3.2", 5.0, (12, 9)).any()


def test_holes_are_taken_away_and_points_are_no_nodules(tmp_path: Path) -> None:
    large = roi(square(3, 7), "FALSE") + roi(square(1, 9))
    path = write_markup(tmp_path / "one.xml", large, roi([(10, 10)]), roi(square(9, 11)))
    mask = read_markup(path).mask(0, "1.2.3.1", 5.0, (14, 14))
    expected = np.zeros((14, 14), np.bool_)
    expected[2:9, 2:9] = True
    expected[4:7, 4:7] = False  # what the inner outline encloses
    expected[10, 10] = True  # of the third mark; the hole of one nodule is none of another
    assert np.array_equal(mask, expected)


def test_an_outline_without_uid_lies_by_its_place(tmp_path: Path) -> None:
    markup = read_markup(write_markup(tmp_path / "one.xml", roi(square(2, 6), uid="", z=-12.5)))
    assert markup.mask(0, "whatever", -12.5, (9, 9)).sum() == 9
    assert not markup.mask(0, "whatever", -11.25, (9, 9)).any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5), st.sampled_from(range(4)))
def test_agrees_with_filling_holes(phantom: Path, number: int, reader: int) -> None:
    """Another way to the same masks: what the background cannot reach around the chain."""
    path = markup_of(phantom, number + 1)
    markup = read_markup(path)
    namespace = {"n": "http://www.nih.gov"}
    session = ElementTree.parse(path).getroot().findall("n:readingSession", namespace)[reader]
    expected: dict[str, np.ndarray] = {}
    for nodule in session.findall("n:unblindedReadNodule", namespace):
        for mark in nodule.findall("n:roi", namespace):
            chain = np.zeros((96, 96), np.bool_)
            for edge in mark.findall("n:edgeMap", namespace):
                chain[int(edge.findtext("n:yCoord", "", namespace)), int(edge.findtext("n:xCoord", "", namespace))] = 1
            inside = ndimage.binary_fill_holes(chain) & ~chain
            uid = mark.findtext("n:imageSOP_UID", "", namespace)
            so_far = expected.setdefault(uid, np.zeros((96, 96), np.bool_))
            so_far[inside] = mark.findtext("n:inclusion", "", namespace) == "TRUE"
    for uid, mask in expected.items():
        assert np.array_equal(markup.mask(reader, uid, None, (96, 96)), mask)


def test_every_slice_with_a_nodule_is_a_case_and_a_patient_a_group(phantom: Path) -> None:
    cases = open_raw(DATASET, phantom)[1]
    lines = (phantom / "split.csv").read_text("utf-8").splitlines()[1:]
    assert [[case.id, case.group] for case in cases] == [line.split(",")[:2] for line in lines]
    assert [name for name, _ in cases[0].annotations] == list(READERS)
    assert cases[0].label_files == (markup_of(phantom),)


def test_prepared_masks_lie_on_the_nodules(phantom: Path, tmp_path: Path) -> None:
    rows = split(settings=DATASET, raw=phantom, output=tmp_path / "split.csv")
    parts: dict[str, set[str]] = {}
    for row in rows:
        parts.setdefault(row.group, set()).add(row.split)
    assert all(len(part) == 1 for part in parts.values())  # patients stay together
    prepare(name="n", settings=DATASET, raw=phantom, split=tmp_path / "split.csv", output=tmp_path / "p")
    store = SliceStore.open(tmp_path / "p", verify=True)
    assert store.manifest.annotators == READERS
    differing = 0
    for case in store.cases:
        own = [store.drawn_by(name, case.rows)[0] > 0 for name in READERS]
        seen = np.any(own, axis=0)
        assert seen.any()
        assert store.images[case.start][..., 0][seen].mean() > -650  # partly tissue; the lung about it is near -850
        assert np.array_equal(store.masks[case.start] > 0, np.sum(own, axis=0) >= 2)
        assert np.array_equal(NativeLabels(store, phantom, None).read(case), store.masks[case.rows])
        differing += not np.array_equal(own[0], own[1])
    assert differing == len(store.cases)
    assert store.cases[0].spacing == pytest.approx((0.7, 0.7, 1.25))


def test_markup_may_lie_apart_and_radiographs_are_passed_over(raw: Path) -> None:
    before = [case.id for case in open_raw(DATASET, raw)[1]]
    (raw / "tcia-lidc-xml").mkdir()
    for number, path in enumerate(sorted(raw.rglob("*.xml"))):
        path.rename(raw / "tcia-lidc-xml" / f"{number}.xml")
    (raw / "tcia-lidc-xml" / "cxr.xml").write_text("<IdriReadMessage/>", encoding="utf-8")
    assert [case.id for case in open_raw(DATASET, raw)[1]] == before


def cut(raw: Path) -> None:
    text = markup_of(raw).read_text("utf-8")
    markup_of(raw).write_text(text[: len(text) // 2], encoding="utf-8")


def without_points(raw: Path) -> None:
    text = re.sub(r"<edgeMap>.*?</edgeMap>", "", markup_of(raw).read_text("utf-8"))
    markup_of(raw).write_text(text, encoding="utf-8")


def no_number(raw: Path) -> None:
    text = markup_of(raw).read_text("utf-8").replace("<xCoord>", "<xCoord>about ", 1)
    markup_of(raw).write_text(text, encoding="utf-8")


def slice_gone(raw: Path) -> None:
    (markup_of(raw).parent / "000003.dcm").unlink()


def slice_of_another(raw: Path) -> None:
    text = re.sub(r"<imageSOP_UID>.*?</imageSOP_UID>", "", markup_of(raw).read_text("utf-8"))
    markup_of(raw).write_text(text.replace("-97.5", "17.5"), encoding="utf-8")


def fifth_reader(raw: Path) -> None:
    text = markup_of(raw).read_text("utf-8")
    session = text[text.index("<readingSession>") : text.index("</readingSession>")] + "</readingSession>"
    markup_of(raw).write_text(text.replace("</LidcReadMessage>", f"{session}</LidcReadMessage>"), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, r"\(1 problem\(s\)\):\n  - .*001\.xml: damaged: no whole XML"),
        (without_points, r"001\.xml: damaged: .*an outline without points"),
        (no_number, r"001\.xml: damaged: invalid literal for int.*about "),
        (slice_gone, r"001\.xml: an outline in a slice that is not there \(1\.2\.826.*\.4\)"),
        (slice_of_another, r"001\.xml: an outline in a slice that is not there \(z = 17\.5 mm\)"),
        (fifth_reader, r"001\.xml: 5 readers, where 1 to 4 are expected"),
        (lambda raw: markup_of(raw).unlink(), r"LIDC-IDRI-0001/.*: a CT without an XML file about it"),
        (
            lambda raw: [one.unlink() for one in markup_of(raw).parent.glob("*.dcm")],
            "series it is about is not there",
        ),
        (lambda raw: shutil.copy(markup_of(raw), raw / "twin.xml"), "two XML files about one series"),
    ],
)
def test_faults_are_named(raw: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(raw)
    with pytest.raises(ListedError, match=rf"(?s){message}"):
        open_raw(DATASET, raw)


def test_a_series_that_three_read(raw: Path) -> None:
    text = markup_of(raw).read_text("utf-8")
    last = text.rindex("<readingSession>")
    markup_of(raw).write_text(text[:last] + "</LidcReadMessage>", encoding="utf-8")
    with pytest.raises(ListedError, match=r"(?s)2 of 12 cases lack the mask of an annotator.*0001_003: reader4"):
        open_raw(DATASET, raw)
    cases = open_raw(DATASET.model_copy(update={"missing_annotators": "allow"}), raw)[1]
    assert [name for name, _ in cases[0].annotations] == list(READERS[:3])


def test_nothing_outlined(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="no outlined nodule in the files of LIDC-IDRI"):
        open_raw(DATASET, tmp_path)
