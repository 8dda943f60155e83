"""Files of a results folder: read as they are, refused where they are cut off or lack a key."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from sdseg.artifacts.results.evaluation import EvaluationSummary
from sdseg.artifacts.results.parity import Parity
from sdseg.core.errors import UserError
from sdseg.core.files import read_json
from sdseg.report.read_results import read_cases, read_curves, read_overlays, read_training
from tests.helpers.stage_results import StageResults, edit_json


@pytest.fixture
def run(stages: StageResults, tmp_path: Path) -> Path:
    stages.run(tmp_path / "kseg" / "sdseg")
    return tmp_path / "kseg" / "sdseg"


def test_a_summary_is_read_with_all_its_scores(stages: StageResults, run: Path, tmp_path: Path) -> None:
    assert (ceiling := read_json(run / "evaluation" / "summary.json", EvaluationSummary).codec_ceiling) is not None
    assert ceiling.dice == json.loads((run / "evaluation" / "summary.json").read_text())["codec_ceiling"]["dice"]
    stages.run(tmp_path / "refuge2" / "unet")
    path = tmp_path / "refuge2" / "unet" / "evaluation" / "summary.json"
    summary, written = read_json(path, EvaluationSummary), json.loads(path.read_text())
    assert summary.dice.mean == written["dice"]["mean"]
    assert summary.structures["cup"]["iou"].sd == written["structures"]["cup"]["iou"]["sd"]


def test_what_a_newer_stage_adds_is_ignored(run: Path) -> None:
    path = run / "evaluation" / "summary.json"
    edit_json(path, hd95={"mean": 3.2}, seconds_to_load=1.0)
    assert read_json(path, EvaluationSummary).n_cases == 12


@pytest.mark.parametrize("key", ["dice", "origin", "n_cases", "data_checksum", "provenance"])
def test_a_missing_key_is_named_with_its_file(run: Path, key: str) -> None:
    path = run / "evaluation" / "summary.json"
    edit_json(path, **{key: None})
    with pytest.raises(UserError, match=rf"(?s)'{key}' field required.*evaluation/summary\.json"):
        read_json(path, EvaluationSummary)


def test_a_missing_nested_key_is_named_with_its_path(run: Path) -> None:
    path = run / "evaluation" / "summary.json"
    edit_json(path, dice={"mean": 0.9, "minimum": 0.1, "median": 0.9, "maximum": 1.0})
    with pytest.raises(UserError, match=r"'dice\.sd' field required"):
        read_json(path, EvaluationSummary)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"origin": "synthetic"}, "'origin' input should be 'real', 'sample' or 'phantom'"),
        ({"seconds_per_image": -1}, "'seconds_per_image' input should be greater than or equal to 0"),
        ({"n_cases": 0}, "'n_cases' input should be greater than or equal to 1"),
        ({"threshold": float("nan")}, "'threshold' input should be a finite number"),
    ],
)
def test_impossible_values_are_refused(run: Path, changes: dict[str, object], message: str) -> None:
    path = run / "evaluation" / "summary.json"
    edit_json(path, **changes)
    with pytest.raises(UserError, match=message):
        read_json(path, EvaluationSummary)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_summary_is_named(run: Path, share: float) -> None:
    path = run / "evaluation" / "summary.json"
    text = path.read_text().rstrip()
    path.write_text(text[: int(len(text) * share)])
    with pytest.raises(UserError, match=r"(?s)truncated.*evaluation/summary\.json"):
        read_json(path, EvaluationSummary)


def test_parity_needs_its_verdict(run: Path) -> None:
    path = run / "export" / "parity.json"
    assert read_json(path, Parity).passed
    edit_json(path, passed=None)
    with pytest.raises(UserError, match=r"(?s)'passed' field required.*parity\.json"):
        read_json(path, Parity)


def test_the_training_record_may_lack_a_validation(run: Path) -> None:
    record = json.loads((run / "model" / "config.json").read_text())["training"]
    assert read_training(record, path=run).n_parameters == sum(record["parameters"].values()) > 10_000
    assert read_training({**record, "best_step": None, "best_dice": None}, path=run).best_dice is None
    with pytest.raises(UserError, match=r"(?s)'seconds' field required.*'training'"):
        read_training({key: value for key, value in record.items() if key != "seconds"}, path=run)


def test_cases_keep_their_order_and_quoted_names(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text('case,dice,iou,group\nb,0.5,0.3,g\n"a, left",1,1.0,g\n')
    cases = read_cases(path, expected=2)
    assert [(case.case, case.dice, case.iou) for case in cases] == [("b", 0.5, 0.3), ("a, left", 1.0, 1.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,dice,iou\na,0.5,0.3\n", r"1 cases, but summary\.json beside it counts 2"),
        ("case,dice,iou\na,0.5,0.3\nb,0.7", r"(?s)column 'iou' is missing or the line is cut off.*line 3"),
        ("case,score\na,0.5\n", "column 'dice' is missing"),
        ("case,dice,iou\na,1.5,0.3\n", "'dice' is '1.5', a number from 0 to 1 was expected"),
        ("case,dice,iou\na,0.5,nan\n", "'iou' is 'nan'"),
        ("case,dice,iou\na,good,1\n", "'dice' is 'good'"),
    ],
)
def test_a_wrong_table_of_cases_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_cases(path, expected=2)


def test_a_table_of_cases_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"(?s)cannot read the file.*cases\.csv"):
        read_cases(path, expected=2)


def test_curves_are_in_the_order_of_steps_and_the_last_word_counts(tmp_path: Path) -> None:
    path = tmp_path / "training.jsonl"
    events = [
        {"event": "step", "step": 10, "loss": 2.0},
        {"event": "step", "step": 20, "loss": None},
        {"event": "validation", "step": 20, "dice": 0.3},
        {"event": "resumed", "step": 10},
        {"event": "step", "step": 20, "loss": 1.5},
        {"event": "validation", "step": 20, "dice": 0.4},
        {"event": "something new", "of": "a later version"},
        {"event": "done", "step": 20, "seconds": 3.0},
    ]
    path.write_text("\n".join(json.dumps(event) for event in events) + "\n\n")
    curves = read_curves(path)
    assert curves.loss == ((10, 2.0), (20, 1.5))
    assert curves.dice == ((20, 0.4),)
    assert curves.resumed == (10,)


def test_a_cut_off_training_log_is_named_with_its_line(run: Path) -> None:
    path = run / "model" / "training.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:6], lines[6][:20]]))
    with pytest.raises(UserError, match=r"(?s)Invalid JSON.*training\.jsonl, line 7"):
        read_curves(path)


def test_overlays_come_best_first_with_their_size(run: Path) -> None:
    overlays = read_overlays(run / "evaluation" / "overlays")
    assert [overlay.rank for overlay in overlays] == ["best", "median", "worst"]
    for overlay in overlays:
        picture = cv2.imread(str(run / "evaluation" / "overlays" / f"{overlay.rank}_{overlay.case}.png"))
        assert (overlay.height, overlay.width) == picture.shape[:2]
    assert read_overlays(run / "nowhere") == ()


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", "half"])
def test_a_picture_that_is_not_whole_is_refused(run: Path, content: bytes | str) -> None:
    path = next((run / "evaluation" / "overlays").glob("worst_*.png"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    with pytest.raises(UserError, match=r"(?s)not a whole PNG picture.*worst_"):
        read_overlays(path.parent)
