"""Scores at native and at working size, against OpenCV and SimpleITK reading the raw files themselves."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from sdseg.backends.open_model import open_model
from sdseg.cli.commands import main
from sdseg.config.dataset import Dataset
from sdseg.core.errors import UserError
from sdseg.data.prepare import prepare
from sdseg.data.store import SliceStore
from sdseg.evaluation.evaluate import EvaluationOptions, evaluate
from tests.helpers.prepared_sets import ORGANS, SMALL, SPACING, prepare_fundus, prepare_scans, write_scan
from tests.helpers.raw_files import encode, save, write_split
from tests.helpers.tiny import CT, DISC_CUP, write_graph, write_store


def evaluated(folder: Path) -> tuple[list[dict[str, str]], dict[str, Any]]:
    with (folder / "cases.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream)), json.loads((folder / "summary.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def fundus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Raw files, store and model of disc and cup."""
    folder = tmp_path_factory.mktemp("fundus é")
    return *prepare_fundus(folder), write_graph(folder / "model.onnx", SMALL, DISC_CUP)


def test_images_at_native_size(fundus: tuple[Path, Path, Path], tmp_path: Path) -> None:
    raw, prepared, model = fundus
    evaluate(prepared, model, tmp_path / "e", EvaluationOptions(raw=raw, batch=2))
    table, summary = evaluated(tmp_path / "e")
    store, backend = SliceStore.open(prepared), open_model(model).backend
    dice, errors = [], []
    for row, case in zip(table, store.cases_of("test"), strict=True):
        probability = backend.probability(store.images[case.rows])[0]
        predicted = [cv2.resize(one, (60, 90), interpolation=cv2.INTER_LINEAR) > 0.5 for one in probability]
        grey = cv2.imdecode(np.fromfile(raw / case.label, np.uint8), cv2.IMREAD_GRAYSCALE)
        labelled = [grey < 200, grey < 100]
        dice.append([2 * (p & t).sum() / (p.sum() + t.sum()) for p, t in zip(predicted, labelled, strict=True)])
        tall = [[np.ptp(np.flatnonzero(mask.any(axis=1))) + 1 for mask in masks] for masks in (predicted, labelled)]
        errors.append(abs(tall[0][1] / tall[0][0] - tall[1][1] / tall[1][0]))
        assert [float(row["dice_disc"]), float(row["dice_cup"])] == pytest.approx(dice[-1], abs=1e-6)
        assert float(row["cup_to_disc_error"]) == pytest.approx(errors[-1], abs=1e-6)
        assert (row["hd95"], row["nsd"], row["scored_at"]) == ("n/a", "n/a", "native size")
        assert "hd95: no spacing" in row["undefined"]
        assert float(row["dice"]) != float(row["dice_working"])
    assert min(errors) > 0
    assert summary["scored_at"] == "native size"
    assert summary["dice"]["mean"] == pytest.approx(np.mean(dice))
    assert summary["native"]["metrics"]["dice"] == summary["dice"]
    assert summary["native"]["metrics"]["cup_to_disc_error"]["mean"] == pytest.approx(np.mean(errors))
    assert summary["structures"]["cup"]["dice"]["mean"] == pytest.approx(np.mean(dice, axis=0)[1])
    no_spacing = "no spacing: the size of a pixel in millimetres is not known"
    assert summary["working"]["metrics"]["hd95"] == {
        **dict.fromkeys(("mean", "sd", "minimum", "median", "maximum", "ci95")),
        "n": 0,
        "undefined": {no_spacing: 2},
    }


def test_a_threshold_from_the_validation_split(fundus: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, prepared, model = fundus
    evaluate(prepared, model, tmp_path / "e", EvaluationOptions(choose_threshold=True))
    _, summary = evaluated(tmp_path / "e")
    chosen = summary["threshold_chosen"]
    store, backend = SliceStore.open(prepared), open_model(model).backend
    (case,) = store.cases_of("val")
    probability = backend.probability(store.images[case.rows])[0]
    labels = store.masks[case.rows][0]
    curve = []
    for threshold, mean in chosen["curve"]:
        pairs = zip(probability > threshold, (labels > 0, labels == 2), strict=True)
        curve.append(np.mean([2 * (p & t).sum() / (p.sum() + t.sum()) for p, t in pairs]))
        assert mean == pytest.approx(curve[-1])
    assert chosen["dice"] == max(mean for _, mean in chosen["curve"])
    assert chosen["threshold"] == summary["threshold"]
    assert (chosen["split"], chosen["n_cases"]) == ("val", 1)


def test_calibration_in_the_summary(fundus: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, prepared, model = fundus
    evaluate(prepared, model, tmp_path / "e")
    _, summary = evaluated(tmp_path / "e")
    found = summary["calibration"]
    assert found["pixels"] == sum(each["pixels"] for each in found["bins"]) == 2 * 2 * 32 * 32
    assert 0 < found["ece"] < 1


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("scans")
    return *prepare_scans(folder), write_graph(folder / "model.onnx", CT, ORGANS)


def itk(mask: np.ndarray) -> SimpleITK.Image:
    """A mask [Z,H,W] with its spacing."""
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(SPACING)
    return image


def itk_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """From the surface of one mask to that of the other, in mm, by SimpleITK's contour and distance map."""
    contours = [SimpleITK.BinaryContour(itk(np.pad(mask, 1)), fullyConnected=False) for mask in (one, other)]
    away = SimpleITK.SignedMaurerDistanceMap(contours[1], squaredDistance=False, useImageSpacing=True)
    distances = np.maximum(SimpleITK.GetArrayFromImage(away), 0)
    return np.asarray(distances[SimpleITK.GetArrayFromImage(contours[0]) > 0])


def test_volumes_at_native_size(scans: tuple[Path, Path, Path], tmp_path: Path) -> None:
    raw, prepared, model = scans
    evaluate(prepared, model, tmp_path / "e", EvaluationOptions(raw=raw, batch=4, nsd_tolerance=1.0))
    table, summary = evaluated(tmp_path / "e")
    store, backend = SliceStore.open(prepared), open_model(model).backend
    for row, case in zip(table[:2], store.cases_of("test"), strict=False):
        probability = backend.probability(store.images[case.rows])[:, 0]
        predicted = np.stack([cv2.resize(one, (50, 40), interpolation=cv2.INTER_LINEAR) > 0.5 for one in probability])
        labels = np.asarray(nib.load(raw / case.label).dataobj)  # left, posterior, superior, as slices are shown
        labelled = labels.transpose(2, 1, 0) > 0
        measure = SimpleITK.LabelOverlapMeasuresImageFilter()
        measure.Execute(itk(predicted), itk(labelled))
        assert float(row["dice"]) == pytest.approx(measure.GetDiceCoefficient(), abs=1e-6)
        assert float(row["iou"]) == pytest.approx(measure.GetJaccardCoefficient(), abs=1e-6)
        assert float(row["precision"]) == pytest.approx(1 - measure.GetFalseDiscoveryRate(), abs=1e-6)
        assert float(row["recall"]) == pytest.approx(1 - measure.GetFalseNegativeError(), abs=1e-6)
        there, back = itk_distances(predicted, labelled), itk_distances(labelled, predicted)
        worst = max(np.percentile(there, 95), np.percentile(back, 95))
        near = ((there <= 1).sum() + (back <= 1).sum()) / (len(there) + len(back))
        assert float(row["hd95"]) == pytest.approx(worst, abs=1e-4)
        assert float(row["nsd"]) == pytest.approx(near, abs=1e-6)
        assert 0.5 < float(row["hd95"]) < 5
    assert summary["nsd_tolerance_mm"] == 1.0


def test_an_empty_label_gives_no_silent_number(scans: tuple[Path, Path, Path], tmp_path: Path) -> None:
    raw, prepared, model = scans
    evaluate(prepared, model, tmp_path / "e", EvaluationOptions(raw=raw))
    table, summary = evaluated(tmp_path / "e")
    row = table[2]
    assert (row["case"], float(row["dice"]), float(row["nsd"])) == ("0004", 0, 0)
    assert (row["recall"], row["hd95"]) == ("n/a", "n/a")
    assert row["undefined"] == "recall: nothing labelled; hd95: nothing labelled"
    assert float(row["dice_official"]) == 1  # the published rule
    assert summary["native"]["metrics"]["hd95"]["undefined"] == {"nothing labelled": 1}
    assert summary["native"]["metrics"]["hd95"]["n"] == 2
    assert summary["dice"]["n"] == 3
    low, high = summary["dice"]["ci95"]
    assert low <= summary["dice"]["mean"] <= high


def test_working_size_has_its_own_spacing(scans: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """50 columns of 0.8 mm become 32 of 1.25 mm: distances stay comparable."""
    raw, prepared, model = scans
    evaluate(prepared, model, tmp_path / "e", EvaluationOptions(raw=raw))
    _, summary = evaluated(tmp_path / "e")
    native, working = (summary[size]["metrics"]["hd95"]["mean"] for size in ("native", "working"))
    assert working == pytest.approx(native, abs=1.2)


def test_raw_files_that_have_changed(scans: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, prepared, model = scans
    for number in range(1, 6):
        write_scan(tmp_path / "raw", number)
    label = tmp_path / "raw" / "RawData" / "Training" / "label" / "label0002.nii.gz"
    save(label, np.zeros((50, 40, 9), np.uint8), np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0]))
    with pytest.raises(UserError, match="not the label that case '0002' was prepared with"):
        evaluate(prepared, model, tmp_path / "e", EvaluationOptions(raw=tmp_path / "raw"))
    label.unlink()
    with pytest.raises(UserError, match="the file is missing"):
        evaluate(prepared, model, tmp_path / "e", EvaluationOptions(raw=tmp_path / "raw"))
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--raw", "nowhere"], "no raw files here"),
        (["--split", "val", "--choose-threshold"], "chosen on the very cases that are scored"),
        (["--choose-threshold"], "no case in the split 'val'"),
    ],
)
def test_refused(
    words: list[str], message: str, bright_rgb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = {"train": (1,), "val": (1,) if "val" in words else (), "test": (1,)}
    store = write_store(tmp_path / "s", cases=cases)
    paths = ["--prepared", str(store), "--model", str(bright_rgb), "--output", str(tmp_path / "e")]
    assert main(["evaluate", *paths, *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("tolerance", [0.0, float("nan")])
def test_a_tolerance_that_is_none(tolerance: float) -> None:
    with pytest.raises(UserError, match=f"a tolerance of {tolerance:g} mm"):
        EvaluationOptions(nsd_tolerance=tolerance)


def test_a_dataset_of_ones_own_needs_its_settings(tmp_path: Path, bright_rgb: Path) -> None:
    raw = tmp_path / "raw"
    for number, case in enumerate("abc"):
        image, mask = np.full((48, 40, 3), 60, np.uint8), np.zeros((48, 40), np.uint8)
        for pixels, value in ((image, (220,) * 3), (mask, 7)):
            cv2.circle(pixels, (20, 24), 10 + number, value, -1)
        encode(raw / "images" / f"{case}.png", image)
        encode(raw / "masks" / f"{case}.png", mask)
    own = {"layout": "folders", "modality": "rgb", "images": "images", "masks": "masks"}
    own |= {"labels": {1: "polyp"}, "mask_values": {7: 1}}
    settings = Dataset.model_validate({"source": "own", "own": own, "size": 32})
    split = write_split(tmp_path / "split.csv", {"a": "train", "b": "val", "c": "test"})
    prepare(name="mine", settings=settings, raw=raw, split=split, output=tmp_path / "prepared")
    with pytest.raises(UserError, match="only its settings say what the values of a mask mean"):
        evaluate(tmp_path / "prepared", bright_rgb, tmp_path / "e", EvaluationOptions(raw=raw))
    evaluate(tmp_path / "prepared", bright_rgb, tmp_path / "e", EvaluationOptions(raw=raw, settings=settings))
    _, summary = evaluated(tmp_path / "e")
    assert summary["scored_at"] == "native size"
    assert summary["dice"]["mean"] > 0.9
    assert summary["dice"]["ci95"] is None  # a single case
