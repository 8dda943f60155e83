"""Evaluation on several annotators: the files of an evaluation against loops over hypotheses and annotators."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import mean

import numpy as np
import pytest

from sdseg.backends.open_model import open_model
from sdseg.backends.probability import TimedBackend
from sdseg.config.patches import SlidingWindow
from sdseg.core.files import write_json
from sdseg.data.folds import make_folds, read_folds
from sdseg.data.mask_rule import MaskRule
from sdseg.data.store import SliceStore
from sdseg.evaluation.evaluate import EvaluationOptions, _annotator_scorer, cross_validate, evaluate, evaluate_masks
from tests.helpers.annotated import READERS, annotated_settings, prepare_annotated
from tests.helpers.models import GAUSSIAN, write_latent_model
from tests.helpers.own_files import read as read_picture
from tests.helpers.raw_files import encode
from tests.helpers.tiny import CT, write_graph, write_model, write_store


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    own = {"own": {"labels": {1: "polyp"}}}  # as the models of the helpers have it
    return prepare_annotated(tmp_path_factory.mktemp("annotated"), **own)


@pytest.fixture(scope="module")
def sampling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_latent_model(tmp_path_factory.mktemp("latent") / "model", **GAUSSIAN, inference={"samples": 4})


def iou(a: np.ndarray, b: np.ndarray) -> float:
    union = np.logical_or(a, b).sum()
    return 1.0 if union == 0 else float(np.logical_and(a, b).sum() / union)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * iou(a, b) / (1 + iou(a, b))


def read(folder: Path) -> tuple[list[dict[str, str]], dict]:  # type: ignore[type-arg]
    with (folder / "annotators.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream)), json.loads((folder / "summary.json").read_text("utf-8"))


def test_scores_agree_with_loops(places: tuple[Path, Path], sampling: Path, tmp_path: Path) -> None:
    evaluate(places[1], sampling, tmp_path / "e", EvaluationOptions(batch=1, split="train"))
    lines, summary = read(tmp_path / "e")
    store, served = SliceStore.open(places[1]), open_model(sampling)
    distances = []
    for case, line in zip(store.cases_of("train"), lines, strict=True):
        hypotheses = served.backend.hypotheses(store.images[case.rows])[0, :, 0] > served.rule.threshold  # type: ignore[attr-defined]
        readers = [store.drawn_by(name, case.rows)[0] > 0 for name in READERS]

        def apart(first: np.ndarray, second: np.ndarray) -> float:
            return mean(1 - iou(a, b) for a, b in product(first, second))

        distance = 2 * apart(hypotheses, readers) - apart(hypotheses, hypotheses) - apart(readers, readers)
        assert (line["case"], line["hypotheses"]) == (case.case, "4")
        assert float(line["energy_distance"]) == pytest.approx(distance, abs=1e-6)
        best = mean(max(dice(one, reader) for one in hypotheses) for reader in readers)
        assert float(line["best_dice"]) == pytest.approx(best, abs=1e-6)
        majority = store.masks[case.start] > 0
        assert float(line["majority_dice"]) == pytest.approx(mean(dice(one, majority) for one in hypotheses), abs=1e-6)
        for name, reader in zip(READERS, readers, strict=True):
            assert float(line[f"dice_{name}"]) == pytest.approx(mean(dice(one, reader) for one in hypotheses), abs=1e-6)
        distances.append(distance)
    record = summary["annotators"]
    assert (record["names"], record["hypotheses"], record["size"]) == (list(READERS), 4, "working size")
    assert record["metrics"]["energy_distance"]["mean"] == pytest.approx(mean(distances))
    case = summary["exhibits"]["annotators"]
    picture = read_picture(tmp_path / "e" / "overlays" / f"annotators_{case}.png")
    assert picture.shape[1] == 4 * 256  # four hypotheses below three annotators
    assert record["metrics"]["disagreement"]["n"] == record["dice_by_annotator"]["ben"]["n"] == 3
    assert "annotators_missing" not in summary


def test_a_deterministic_graph_has_one_hypothesis(places: tuple[Path, Path], bright_rgb: Path, tmp_path: Path) -> None:
    evaluate(places[1], bright_rgb, tmp_path / "e")
    lines, summary = read(tmp_path / "e")
    assert {line["hypotheses"] for line in lines} == {"1"}
    assert {line["diversity"] for line in lines} == {"n/a"}
    diversity = summary["annotators"]["metrics"]["diversity"]
    assert (diversity["n"], diversity["undefined"]) == (0, {"one hypothesis: nothing to differ from": 2})
    assert summary["annotators"]["metrics"]["disagreement"]["mean"] > 0


def test_where_hypotheses_are_not_to_be_had_it_says_so(places: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for case in ("e", "f"):
        encode(tmp_path / "masks" / f"{case}.png", np.zeros((32, 32), np.uint8))
    options = EvaluationOptions(raw=places[0], settings=annotated_settings())
    evaluate_masks(places[1], tmp_path / "masks", "zeros", tmp_path / "zeros", options)
    summary = json.loads((tmp_path / "zeros" / "summary.json").read_text("utf-8"))
    assert "annotators" not in summary
    assert summary["annotators_missing"].startswith("no hypotheses to compare: masks were given")
    assert not (tmp_path / "zeros" / "annotators.csv").exists()
    evaluate(places[1], write_graph(tmp_path / "noisy.onnx", noise_shape=(2, 4, 4)), tmp_path / "e")
    summary = json.loads((tmp_path / "e" / "summary.json").read_text("utf-8"))
    assert summary["annotators_missing"].endswith(": the graph gives the mean of its hypotheses alone")


def test_folds_are_scored_against_everyone_by_who_held_them_out(places: tuple[Path, Path], tmp_path: Path) -> None:
    prepared = places[1]
    make_folds(prepared, 2, tmp_path / "folds.csv")
    folds, models = read_folds(tmp_path / "folds.csv"), [tmp_path / "one", tmp_path / "two"]
    for number, model in enumerate(models, start=1):
        write_model(model, seed=number)
        held_out = {"number": number, "of": 2, "sha256": folds.checksum}
        manifest = json.loads((model / "config.json").read_text("utf-8"))
        write_json(model / "config.json", manifest | {"training": {"steps": 1, "fold": held_out}})
        evaluate(prepared, model, tmp_path / f"by-{number}", EvaluationOptions(split="train"))
    cross_validate(prepared, models, tmp_path / "folds.csv", "unet-cross-validated", tmp_path / "both")
    one, two, both = ({row["case"]: row for row in read(tmp_path / name)[0]} for name in ("by-1", "by-2", "both"))
    assert both == {case: (one, two)[fold - 1][case] for case, fold in folds.fold_of.items()}
    assert one != two


class OfVolumes:
    """Finds in slice n of the volume it is given the row n."""

    name, mean_alone, samples, sliding_window = "of-volumes", "", 2, SlidingWindow(size=(4, 32, 32))

    def hypotheses(self, images: np.ndarray) -> np.ndarray:
        rows = np.eye(len(images), images.shape[1], dtype=np.float32)
        return np.broadcast_to(rows[:, None, None, :, None], (len(images), 2, 1, *images.shape[1:3]))

    def probability(self, images: np.ndarray) -> np.ndarray:
        return self.hypotheses(images).mean(axis=1)


def test_the_picture_of_a_volume_has_the_hypotheses_of_the_whole_of_it(tmp_path: Path) -> None:
    store = SliceStore.open(write_store(tmp_path / "prepared", CT, cases={"test": (2, 3)}))
    store = replace(store, manifest=store.manifest.model_copy(update={"annotators": READERS}))
    scorer = _annotator_scorer(TimedBackend(OfVolumes(), tmp_path), store, MaskRule())
    assert scorer is not None
    masks = scorer.masks_of(store.cases[1], 2)  # [S,K,H,W]
    assert masks.shape == (2, 1, 32, 32)
    assert np.argwhere(masks.all(axis=-1))[:, -1].tolist() == [2, 2]
