"""Masks made elsewhere: scored by the same lines as a model, refused where they do not fit, shown as what they are."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import pytest

from sdseg.cli.commands import main
from sdseg.core.errors import ListedError, UserError
from sdseg.data.store import SliceStore
from sdseg.evaluation.evaluate import EvaluationOptions, evaluate, evaluate_masks
from sdseg.evaluation.predicted_masks import PredictedMasks
from sdseg.inference.predict import predict
from sdseg.report.collect import collect_results
from sdseg.report.recipe_comparison import recipe_comparisons
from sdseg.report.report import report
from tests.helpers.prepared_sets import ORGANS, SMALL, prepare_fundus, prepare_scans
from tests.helpers.raw_files import encode
from tests.helpers.tiny import CT, DISC_CUP, write_graph, write_store
from tests.report.test_report import Page

Given = tuple[Path, Path, Path, Path]  # raw files, store, model, masks that `predict` made with it


def evaluated(folder: Path) -> tuple[list[dict[str, str]], dict[str, Any]]:
    with (folder / "cases.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream)), json.loads((folder / "summary.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def fundus(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("fundus é")
    raw, prepared = prepare_fundus(folder)
    model = write_graph(folder / "model.onnx", SMALL, DISC_CUP)
    assert predict(model, [raw / "Test400"], folder / "masks", "cpu") == 0
    return raw, prepared, model, folder / "masks"


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("scans")
    raw, prepared = prepare_scans(folder)
    model = write_graph(folder / "model.onnx", CT, ORGANS)
    images = raw / "RawData" / "Training" / "img"
    assert predict(model, [images / f"img000{n}.nii.gz" for n in (2, 3, 4)], folder / "masks", "cpu") == 0
    return raw, prepared, model, folder / "masks"


@pytest.mark.parametrize("kind", ["fundus", "scans"])
def test_masks_of_a_model_score_as_the_model_does(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    raw, prepared, model, masks = request.getfixturevalue(kind)
    evaluate(prepared, model, tmp_path / "model", EvaluationOptions(raw=raw))
    evaluate_masks(prepared, masks, "nnU-Net", tmp_path / "masks", EvaluationOptions(raw=raw))
    (ours, of_model), (theirs, of_masks) = evaluated(tmp_path / "model"), evaluated(tmp_path / "masks")
    for one, other in zip(ours, theirs, strict=True):
        for column, value in one.items():
            expected = "n/a" if column.endswith("_working") or column == "dice_official" else value
            assert other[column] == expected, column
    assert of_masks["native"] == of_model["native"]
    assert (of_masks["recipe"], of_masks["backend"], of_masks["scored_at"]) == (
        "nnU-Net",
        "masks of files",
        "native size",
    )
    assert all(of_masks[key] is None for key in ("threshold", "calibration", "seconds_per_image", "trained_on"))
    assert of_masks["calibration_missing"] == "masks were given, not probabilities"
    why = "masks were given at the native size of the files, and none at the working size"
    assert of_masks["working"]["metrics"]["dice"]["undefined"] == {why: len(ours)}
    assert of_masks["dice_official"]["undefined"] == {why: len(ours)}
    drawn = {path.relative_to(tmp_path / "model") for path in (tmp_path / "model").rglob("*.*")}
    assert {path.relative_to(tmp_path / "masks") for path in (tmp_path / "masks").rglob("*.*")} == drawn


def test_files_may_be_named_as_cases(scans: Given, tmp_path: Path) -> None:
    raw, prepared, _, masks = scans
    for number in (2, 3, 4):
        (tmp_path / "renamed" / "fold 0").mkdir(parents=True, exist_ok=True)
        copied = tmp_path / "renamed" / "fold 0" / f"000{number}.nii.gz"
        shutil.copy(masks / f"img000{number}_mask.nii.gz", copied)
    (tmp_path / "renamed" / "plans.json").write_text("{}")
    words = ["--prepared", str(prepared), "--raw", str(raw), "--name", "theirs"]
    words += ["--predictions", str(tmp_path / "renamed"), "--output", str(tmp_path / "e")]
    assert main(["evaluate", *words]) == 0
    evaluate_masks(prepared, masks, "ours", tmp_path / "f", EvaluationOptions(raw=raw))
    assert evaluated(tmp_path / "e")[0] == evaluated(tmp_path / "f")[0]


def test_a_cup_is_a_part_of_its_disc(fundus: Given, tmp_path: Path) -> None:
    raw, prepared, _, _ = fundus
    mask = np.zeros((90, 60), np.uint8)
    cv2.circle(mask, (30, 45), 20, 1, -1)
    cv2.circle(mask, (30, 45), 8, 2, -1)
    for case in ("T0001", "T0002"):
        encode(tmp_path / "m" / f"{case}.png", mask)
    evaluate_masks(prepared, tmp_path / "m", "x", tmp_path / "e", EvaluationOptions(raw=raw))
    (row, _), _ = evaluated(tmp_path / "e")
    assert int(row["pixels_predicted"]) == (mask > 0).sum() + (mask == 2).sum()  # the disc holds its cup


def test_a_single_structure_in_images_may_be_white(tmp_path: Path) -> None:
    store = SliceStore.open(write_store(tmp_path / "s"))
    case = store.cases_of("test")[0]
    mask = np.zeros((48, 40), np.uint8)
    mask[10:20, 5:9] = 255
    white = PredictedMasks(store, tmp_path, {case.case: encode(tmp_path / "white.png", mask)})
    ones = PredictedMasks(store, tmp_path, {case.case: encode(tmp_path / "ones.png", mask // 255)})
    assert white.ids(case).sum() == 40
    assert np.array_equal(white.ids(case), ones.ids(case))
    both = PredictedMasks(store, tmp_path, {case.case: encode(tmp_path / "both.png", np.maximum(mask, 1))})
    with pytest.raises(UserError, match="values 255 are no structure"):
        both.ids(case)


def test_every_file_that_belongs_to_no_case_is_named(fundus: Given, tmp_path: Path) -> None:
    raw, prepared, _, masks = fundus
    shutil.copytree(masks, tmp_path / "m")
    (found,) = (path for path in (tmp_path / "m").rglob("T0002_mask.png"))
    shutil.copy(found, found.with_name("T0001_mask.tif"))
    shutil.copy(found, found.with_name("g0001_mask.png"))
    found.rename(found.with_name("T0003_mask.png"))
    with pytest.raises(ListedError, match=r"do not match \(4 problem\(s\)\)") as caught:
        evaluate_masks(prepared, tmp_path / "m", "x", tmp_path / "e", EvaluationOptions(raw=raw))
    said = "\n".join(caught.value.problems)
    for expected in (
        "T0003_mask.png: no case has this name",
        "g0001_mask.png: case 'g0001' is in the split 'train', not in 'test'",
        "case 'T0002' has no file",
        "T0001_mask.tif: case 'T0001' has ",
    ):
        assert expected in said
    assert not (tmp_path / "e").exists()


def test_images_that_do_not_fit_are_all_named(fundus: Given, tmp_path: Path) -> None:
    raw, prepared, _, _ = fundus
    encode(tmp_path / "m" / "T0001.png", np.zeros((32, 32), np.uint8))
    encode(tmp_path / "m" / "T0002.png", np.full((90, 60), 7, np.uint8))
    with pytest.raises(ListedError, match="2 of 2 predictions do not fit their cases") as caught:
        evaluate_masks(prepared, tmp_path / "m", "x", tmp_path / "e", EvaluationOptions(raw=raw))
    assert caught.value.problems == (
        "T0001: 32 × 32 pixels, the label has 60 × 90 pixels (T0001.png)",
        "T0002: values 7 are no structure; known are 1 disc, 2 cup (T0002.png)",
    )


def test_volumes_on_another_grid_are_all_named(scans: Given, tmp_path: Path) -> None:
    raw, prepared, _, masks = scans
    for number, (shape, shift, value) in enumerate([((50, 40, 8), 0, 1), ((50, 40, 9), 2, 1), ((50, 40, 9), 0, 6)], 2):
        image = nib.load(masks / f"img000{number}_mask.nii.gz")
        affine = np.array(image.affine)
        affine[0, 3] += shift
        (tmp_path / "m").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(np.full(shape, value, np.uint8), affine), tmp_path / "m" / f"000{number}.nii.gz")
    with pytest.raises(ListedError, match="3 of 3 predictions do not fit their cases") as caught:
        evaluate_masks(prepared, tmp_path / "m", "x", tmp_path / "e", EvaluationOptions(raw=raw))
    shape, affine_, values = caught.value.problems
    assert "shape of the label (50, 40, 9) and of the prediction (50, 40, 8) differ" in shape
    assert "affines of label and prediction differ: corners lie up to 2 mm apart" in affine_
    assert "values 6 are no structure; known are 1 organs" in values


def test_a_damaged_file_is_named(scans: Given, tmp_path: Path) -> None:
    raw, prepared, _, masks = scans
    shutil.copytree(masks, tmp_path / "m")
    path = tmp_path / "m" / "img0003_mask.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ListedError, match=r"(?s)1 of 3 predictions do not fit.*0003: cannot be read"):
        evaluate_masks(prepared, tmp_path / "m", "x", tmp_path / "e", EvaluationOptions(raw=raw))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--predictions", "nowhere", "--name", "x", "--raw", "."], "no predictions here: the folder is missing"),
        (["--predictions", "nowhere", "--name", "x"], "their labels are not at hand"),
        (["--predictions", "nowhere", "--raw", "."], "'--predictions' and '--name' belong together"),
        (["--model", "m", "--name", "x"], "'--predictions' and '--name' belong together"),
        (["--predictions", "m", "--name", "x", "--sweep"], "studies are of a model"),
        (["--predictions", "m", "--name", "x", "--raw", ".", "--choose-threshold"], "masks have no threshold"),
    ],
)
def test_refused(
    words: list[str], message: str, fundus: Given, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--prepared", str(fundus[1]), "--output", str(tmp_path / "e"), *words]) == 2
    assert message in capsys.readouterr().err


def test_an_empty_split_is_refused(scans: Given, tmp_path: Path) -> None:
    raw, prepared, _, masks = scans
    with pytest.raises(UserError, match="no case in the split 'nothing'"):
        evaluate_masks(prepared, masks, "x", tmp_path / "e", EvaluationOptions(raw=raw, split="nothing"))


def test_the_page_holds_them_against_a_model(scans: Given, tmp_path: Path) -> None:
    raw, prepared, model, masks = scans
    shutil.copytree(prepared, tmp_path / "btcv" / "prepared")
    evaluate(prepared, model, tmp_path / "btcv" / "bright" / "evaluation", EvaluationOptions(raw=raw))
    evaluate_masks(prepared, masks, "nnU-Net", tmp_path / "btcv" / "nnU-Net" / "evaluation", EvaluationOptions(raw=raw))
    (pair,) = recipe_comparisons(collect_results(tmp_path).datasets[0])
    assert pair.paired is not None
    assert (pair.paired.n, pair.paired.difference) == (3, 0)
    report(tmp_path, tmp_path / "report.html")
    text = Page((tmp_path / "report.html").read_text("utf-8")).text
    for expected in (
        "1 trained model and 1 set of masks made elsewhere on 1 dataset",
        "There is no model here, so nothing on training, studies or exports",
        "No scores at working size, nor by the official rule: masks were given at the native size",
        "Calibration: n/a. Masks were given, not probabilities.",
    ):
        assert expected in text, expected
    card = text[text.index("btcv / nnU-Net") :]
    assert "Not made" not in card
    with (tmp_path / "summary.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["recipe"]: row for row in csv.DictReader(stream)}
    assert rows["nnU-Net"]["dice_native"] == rows["bright"]["dice_native"]
    assert (rows["nnU-Net"]["dice_working"], rows["nnU-Net"]["seconds_per_image"]) == ("n/a", "n/a")
