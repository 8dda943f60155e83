"""Which cases are shown, and the volumes that the page scrolls through."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdseg.backends.open_model import open_model
from sdseg.data.mask_rule import MaskRule
from sdseg.data.store import Case, SliceStore, structure_masks
from sdseg.data.transforms import to_display
from sdseg.evaluation.evaluate import evaluate
from sdseg.evaluation.evaluator import Evaluator, ScoredCase, ScoringRules
from sdseg.evaluation.pictures import SliceMasks, overlay, ranked, write_volumes
from sdseg.io.pictures import outline_paths
from sdseg.report.collect import collect_results
from sdseg.report.figures import overlay_pictures
from sdseg.report.read_results import read_volumes
from tests.helpers.tiny import CT, DISC_CUP, write_store

Scored = tuple[SliceStore, list[ScoredCase], SliceMasks]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, bright_ct: Path) -> Scored:
    """Three volumes, of which row 3 (the first slice of the second) has no label; their scores; their masks."""
    cases = {"train": (1,), "test": (2, 3, 1)}
    store = SliceStore.open(write_store(tmp_path_factory.mktemp("s") / "store", CT, DISC_CUP, cases, empty=(3,)))
    backend = open_model(bright_ct).backend

    def found(case: Case) -> object:
        return lambda index: backend.probability(store.images[case.start + index : case.start + index + 1])[0] > 0.5

    assessment = Evaluator(backend.probability, store, ScoringRules(MaskRule(), 2.0))
    return store, list(assessment.run(store.cases_of("test"), 4)), found  # type: ignore[return-value]


def test_volumes_are_written_once_each_with_all_their_slices(scored: Scored, tmp_path: Path) -> None:
    store, scores, found = scored
    shown = {"best": scores[1], "median": scores[1], "worst": scores[0]}
    write_volumes(tmp_path / "v", shown, store, found)
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == [
        "best.json",
        "best.webp",
        "worst.json",
        "worst.webp",
    ]
    best, worst = read_volumes(tmp_path / "v")
    assert (best.case, best.slices, worst.case, worst.slices) == (scores[1].case.case, 3, scores[0].case.case, 2)
    labels = structure_masks(store.masks[scores[1].case.rows], DISC_CUP)
    assert best.first == labels.sum(axis=(1, 2, 3)).argmax() > 0  # the slice without a label is not shown first
    assert list(best.label) == [outline_paths(masks) for masks in labels]
    assert best.label[0] == ""
    assert list(best.prediction) == [outline_paths(found(scores[1].case)(index)) for index in range(3)]
    assert best.dice == scores[1].headline.whole["dice"].value


def test_the_slices_lie_in_the_picture_in_their_order(scored: Scored, tmp_path: Path) -> None:
    store, scores, found = scored
    write_volumes(tmp_path, {"best": scores[1]}, store, found)
    record = json.loads((tmp_path / "best.json").read_text("utf-8"))
    picture = cv2.imdecode(np.fromfile(tmp_path / "best.webp", np.uint8), cv2.IMREAD_COLOR).astype(int)
    tile, columns = record["tile"], record["columns"]
    for index in range(record["slices"]):
        row, column = divmod(index, columns)
        cut = picture[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
        shown = to_display(store.images[scores[1].case.start + index], CT.window).astype(int)
        size = record["size"]
        assert np.abs(cut[:size, :size].mean() - shown.mean()) < 6


def test_single_slices_are_no_volumes(scored: Scored, tmp_path: Path) -> None:
    store, scores, found = scored
    write_volumes(tmp_path / "v", {"best": scores[2]}, store, found)
    assert not (tmp_path / "v").exists()


def test_best_median_and_worst_by_dice(scored: Scored) -> None:
    _, scores, _ = scored
    dice = sorted(score.headline.whole["dice"].value for score in scores)
    shown = ranked(scores)
    assert [shown[rank].headline.whole["dice"].value for rank in ("worst", "median", "best")] == dice


def test_an_overlay_shows_the_slice_with_the_largest_label(scored: Scored) -> None:
    store, scores, _ = scored
    asked: list[int] = []

    def nothing(case: Case) -> object:
        return lambda index: (asked.append(index), np.zeros((2, 32, 32), dtype=np.bool_))[1]

    overlay(scores[1], store, nothing)  # type: ignore[arg-type]
    assert asked == [structure_masks(store.masks[scores[1].case.rows], DISC_CUP).sum(axis=(1, 2, 3)).argmax()]


@pytest.mark.parametrize("name", ["image (1)", "a/b [2] é", "line\nbreak", "x" * 250])
def test_the_page_finds_the_case_of_every_picture(name: str, bright_rgb: Path, tmp_path: Path) -> None:
    """Whatever letters its name has; and where the summary is of an earlier version by the name of the file."""
    store = write_store(tmp_path / "results/tiny/prepared", cases={"test": (1,)}, called=name)
    run = tmp_path / "results/tiny/bright"
    evaluate(store, bright_rgb, run / "evaluation")
    summary = json.loads((run / "evaluation/summary.json").read_text("utf-8"))
    assert summary["exhibits"] == dict.fromkeys(("best", "median", "worst"), name)
    for silent in (False, True):
        if silent:
            del summary["exhibits"]
            (run / "evaluation/summary.json").write_text(json.dumps(summary), encoding="utf-8")
            if len(name) > 180 or "\n" in name:
                return  # an earlier version could not have written this file
        shown = overlay_pictures(collect_results(tmp_path / "results").datasets[0].runs[0])
        assert [picture.title for picture in shown] == [name] * 3
        assert all(picture.dice is not None for picture in shown)
