"""Scores of any backend on a store: files, figures, pictures, refusals."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sdseg.backends.open_model import open_model
from sdseg.config.export import Export
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import write_json
from sdseg.data.store import SliceStore, structure_masks
from sdseg.evaluation.evaluate import EvaluationOptions, evaluate
from sdseg.export.onnx import export
from tests.helpers.tiny import CT, DISC_CUP, RGB, Brightness, write_graph, write_model, write_store

VOLUMES = {"train": (1,), "val": (2,), "test": (3, 1, 4)}


def read_table(folder: Path) -> list[dict[str, str]]:
    with (folder / "cases.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def read_summary(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "summary.json").read_text("utf-8")))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("stores") / "a store é", CT, DISC_CUP, VOLUMES)


def test_scores_agree_with_a_plain_loop(volumes: Path, bright_ct: Path, tmp_path: Path) -> None:
    evaluate(volumes, bright_ct, tmp_path / "e", EvaluationOptions(batch=3))
    table, summary = read_table(tmp_path / "e"), read_summary(tmp_path / "e")
    metrics = ("dice", "iou", "precision", "recall", "hd95", "nsd")
    assert list(table[0]) == [
        *("case", *metrics, "scored_at", *(f"{name}_working" for name in metrics), "dice_official"),
        *("group", "split", "slices", "height", "width", "pixels_predicted", "pixels_labelled", "undefined"),
        *(f"{metric}_{structure}" for metric in metrics for structure in ("disc", "cup")),
    ]

    store, backend = SliceStore.open(volumes), open_model(bright_ct).backend
    means = []
    for case, row in zip(store.cases_of("test"), table, strict=True):
        predicted = backend.probability(store.images[case.rows]) > 0.5
        labelled = structure_masks(store.masks[case.rows], DISC_CUP)
        both, total = ((predicted & labelled).sum((0, 2, 3)), predicted.sum((0, 2, 3)) + labelled.sum((0, 2, 3)))
        dice, iou = 2 * both / total, both / (total - both)
        assert (row["case"], row["split"], int(row["slices"])) == (case.case, "test", case.slices)
        assert int(row["pixels_predicted"]) == predicted.sum()
        assert int(row["pixels_labelled"]) == labelled.sum()
        assert float(row["dice"]) == pytest.approx(dice.mean(), abs=1e-6)
        assert float(row["iou"]) == pytest.approx(iou.mean(), abs=1e-6)
        assert [float(row["dice_disc"]), float(row["dice_cup"])] == pytest.approx(dice, abs=1e-6)
        means.append(dice.mean())
    assert summary["dice"]["mean"] == pytest.approx(np.mean(means))  # type: ignore[index]
    assert summary["dice"]["sd"] == pytest.approx(np.std(means, ddof=1))  # type: ignore[index]
    assert np.mean(means) > 0.9


def test_summary_says_what_was_measured(volumes: Path, bright_ct: Path, tmp_path: Path) -> None:
    evaluate(volumes, bright_ct, tmp_path / "e", EvaluationOptions(split="val"))
    summary = read_summary(tmp_path / "e")
    expected = {
        "format": 1,
        "dataset": "tiny",
        "origin": "phantom",
        "recipe": "bright",
        "protocol": "clean",
        "split": "val",
        "target": "disc",
        "backend": "onnxruntime-cpu",
        "n_cases": 1,
        "n_slices": 2,
        "codec_ceiling": None,
        "threshold": 0.5,
        "size": 32,
        "scored_at": "working size",
        "native": None,
        "native_missing": "no raw folder was given (--raw), so labels at the native size of the files are not at hand",
        "threshold_chosen": None,
        "nsd_tolerance_mm": 2.0,
        "data_checksum": SliceStore.open(volumes).manifest.data_checksum,
        "model_checksum": open_model(bright_ct).checksum,
    }
    assert {key: summary[key] for key in expected} == expected
    assert set(summary["structures"]) == {"disc", "cup"}  # type: ignore[call-overload]
    assert 0 < summary["seconds_per_image"] < 5  # type: ignore[operator]


def test_a_model_of_the_same_data_prepared_otherwise_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Data that were split anew: what is scored may be what it was trained on, as its graph knows, too."""
    store, model = write_store(tmp_path / "s"), write_model(tmp_path / "m")
    config = model / "config.json"
    manifest = json.loads(config.read_text("utf-8"))
    for checksum in ("0" * 64, SliceStore.open(store).manifest.data_checksum):
        write_json(config, manifest | {"training": {"data_checksum": checksum}})
        export(model=model, prepared=store, output=tmp_path / "x", settings=Export())
        for number, scored in enumerate((model, tmp_path / "x" / "model.onnx")):
            caplog.clear()
            evaluate(store, scored, tmp_path / f"e{number}")
            warned = "cases of the split 'test' may have been among its training cases" in caplog.text
            assert warned == (checksum == "0" * 64)
            trained_on = read_summary(tmp_path / f"e{number}")["trained_on"]
            assert trained_on["data_checksum"] == checksum  # type: ignore[index]


def test_batches_change_nothing(volumes: Path, bright_ct: Path, tmp_path: Path) -> None:
    tables = []
    for batch in (1, 3, 100):
        evaluate(volumes, bright_ct, tmp_path / str(batch), EvaluationOptions(batch=batch))
        tables.append((tmp_path / str(batch) / "cases.csv").read_bytes())
    assert tables[0] == tables[1] == tables[2]


def test_a_model_folder_and_its_graph_score_alike(tmp_path: Path) -> None:
    store, model = write_store(tmp_path / "s"), write_model(tmp_path / "m")
    export(model=model, prepared=store, output=tmp_path / "x", settings=Export())
    evaluate(store, model, tmp_path / "a")
    evaluate(store, tmp_path / "x" / "model.onnx", tmp_path / "b")
    of_folder, of_graph = read_summary(tmp_path / "a"), read_summary(tmp_path / "b")
    assert (of_folder["backend"], of_graph["backend"]) == ("torch-cpu", "onnxruntime-cpu")
    assert of_folder["recipe"] == of_graph["recipe"] == "unet"
    for one, other in zip(read_table(tmp_path / "a"), read_table(tmp_path / "b"), strict=True):
        assert one.keys() == other.keys()
        for metric in ("dice", "iou", "dice_official"):
            assert float(one[metric]) == pytest.approx(float(other[metric]), abs=2e-3)


def test_overlays(volumes: Path, bright_ct: Path, tmp_path: Path) -> None:
    evaluate(volumes, bright_ct, tmp_path / "e")
    rows = sorted(read_table(tmp_path / "e"), key=lambda row: float(row["dice"]))
    names = {rank: row["case"].replace("/", "_") for rank, row in zip(("worst", "median", "best"), rows, strict=True)}
    pictures = sorted(path.name for path in (tmp_path / "e" / "overlays").iterdir())
    assert pictures == sorted(f"{rank}_{name}.png" for rank, name in names.items())
    pixels = cv2.imdecode(np.fromfile(tmp_path / "e" / "overlays" / pictures[0], np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape[1] == 512
    assert pixels.shape[0] > 512  # with its legend
    for colour in ((0, 200, 255), (255, 225, 0)):  # label and prediction, RGB
        assert (np.abs(pixels[:512, :, ::-1].astype(int) - colour).max(axis=2) < 8).sum() > 50


def test_cases_without_anything_to_see_are_not_shown(tmp_path: Path, bright_rgb: Path) -> None:
    store = write_store(tmp_path / "s", cases={"test": (1, 1, 1)}, empty=(0,))
    evaluate(store, bright_rgb, tmp_path / "e")
    assert read_table(tmp_path / "e")[0]["dice"] == "1.000000"  # both masks empty
    assert not list((tmp_path / "e" / "overlays").glob("*test_0*"))


def test_an_earlier_evaluation_is_replaced(tmp_path: Path, bright_rgb: Path) -> None:
    store = write_store(tmp_path / "s")
    for split in ("val", "test"):
        evaluate(store, bright_rgb, tmp_path / "e", EvaluationOptions(split=split))
    assert len(read_table(tmp_path / "e")) == 3
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_says_what_it_found(tmp_path: Path, bright_rgb: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="sdseg"):
        evaluate(write_store(tmp_path / "s"), bright_rgb, tmp_path / "e")
    assert "over 3 cases of 'test'" in caplog.text


class Broken(Brightness):
    def forward(self, image: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(image) + torch.log(image.float().mean() - 1e6)


def test_nan_is_no_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.helpers.tiny.Brightness", Broken)
    graph = write_graph(tmp_path / "model.onnx")
    with pytest.raises(UserError, match="the model gives NaN or infinite probability"):
        evaluate(write_store(tmp_path / "s"), graph, tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_a_model_for_other_data(tmp_path: Path, bright_ct: Path) -> None:
    with pytest.raises(ListedError, match="does not fit the prepared data"):
        evaluate(write_store(tmp_path / "s"), bright_ct, tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_an_empty_split(tmp_path: Path, bright_rgb: Path) -> None:
    store = write_store(tmp_path / "s", RGB, cases={"train": (1,), "val": (), "test": (1,)})
    with pytest.raises(UserError, match="no case in the split 'val'"):
        evaluate(store, bright_rgb, tmp_path / "e", EvaluationOptions(split="val"))


def test_a_batch_of_nothing(tmp_path: Path, bright_rgb: Path) -> None:
    with pytest.raises(UserError, match="a batch of 0 slices"):
        evaluate(write_store(tmp_path / "s"), bright_rgb, tmp_path / "e", EvaluationOptions(batch=0))


@pytest.mark.parametrize("kind", ["file", "folder of the user"])
def test_output_that_is_not_ours(tmp_path: Path, bright_rgb: Path, kind: str) -> None:
    output = tmp_path / "e"
    if kind == "file":
        output.write_text("")
    else:
        output.mkdir()
        (output / "notes.txt").write_text("")
    with pytest.raises(UserError, match=r"a folder is expected|holds 'notes.txt'"):
        evaluate(write_store(tmp_path / "s"), bright_rgb, output)
