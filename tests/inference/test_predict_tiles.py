"""Images larger than the working size, from the files to masks: prepared, trained on, scored and predicted in tiles."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdseg.artifacts.manifests import PreparedManifest
from sdseg.cli.commands import main
from sdseg.config.dataset import Dataset
from sdseg.config.inference import Postprocessing
from sdseg.config.run import Config
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import read_json
from sdseg.core.settings import parse
from sdseg.data.prepare import prepare
from sdseg.data.store import SliceStore
from sdseg.data.training_samples import build_samples
from sdseg.datasets.check_configuration import configure
from sdseg.evaluation.evaluate import EvaluationOptions, evaluate, evaluate_masks
from sdseg.evaluation.studies.efficiency import efficiency
from sdseg.evaluation.studies.robustness import robustness
from sdseg.evaluation.studies.studied_model import open_subject
from sdseg.export.tracing import export_graph
from sdseg.inference.pipeline import InputGroup, Stages
from sdseg.inference.predict import PredictOptions, predict
from sdseg.inference.predictor import load_predictor
from sdseg.io.images import read_image
from tests.helpers.networks import direct_recipe
from tests.helpers.own_files import read, report
from tests.helpers.raw_files import encode, write_split
from tests.helpers.tiny import Brightness, describe, write_model

OWN = {
    "layout": "folders",
    "modality": "rgb",
    "images": "images",
    "masks": "masks",
    "labels": {1: "cell"},
    "mask_values": {255: 1},
}
VALUES: dict[str, Any] = {"source": "own", "own": OWN, "size": 32, "tiles": {"overlap": 0.5}}
SETTINGS = Dataset.model_validate(VALUES)
SIZES = {"a": (70, 90), "b": (33, 64), "c": (20, 80), "d": (70, 90)}  # c has fewer rows than a tile
SPLIT = {"a": "train", "b": "test", "c": "test", "d": "val"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright discs on dark grounds, with a bright speck that no mask has."""
    raw = tmp_path_factory.mktemp("raw é")
    for number, (case, (height, width)) in enumerate(SIZES.items()):
        y, x = np.mgrid[:height, :width]
        disc = np.hypot(y - height / 2, x - width * (2 + number) / 7) < height / 3
        pixels = np.where(disc, 200, 60)[..., None] + np.random.default_rng(number).integers(-9, 10, (height, width, 3))
        pixels[2:6, -6:-2] = 220
        encode(raw / "images" / f"{case}.png", pixels.astype(np.uint8))
        encode(raw / "masks" / f"{case}.png", disc.astype(np.uint8) * 255)
    return raw


def prepared(raw: Path, folder: Path, **changes: Any) -> Path:
    settings = parse(Dataset, VALUES | changes, where="my.yaml")
    split = write_split(folder / "split.csv", SPLIT)
    prepare(name="cells", settings=settings, raw=raw, split=split, output=folder / "prepared")
    return folder / "prepared"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, raw: Path) -> Path:
    return prepared(raw, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    manifest = read_json(store / "manifest.json", PreparedManifest)
    mended = Postprocessing(largest_component=True)
    described = describe(manifest.image, manifest.structures).model_copy(update={"postprocessing": mended})
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    export_graph(Brightness(manifest.image), described, path)
    return path


def native(raw: Path, case: str) -> AnyArray:
    return read_image(raw / "images" / f"{case}.png")


def test_a_store_keeps_images_at_their_own_size(raw: Path, store: Path) -> None:
    opened = SliceStore.open(store, verify=True)
    assert opened.manifest.image.tiles == SETTINGS.tiles
    assert opened.manifest.n_cases == {"train": 1, "val": 1, "test": 2}
    assert opened.manifest.n_slices == {"train": 9, "val": 9, "test": 2 * 2 + 1 * 3}
    whole = opened.whole()
    for case in whole.cases:
        assert (case.slices, case.depth) == (1, 1)
        np.testing.assert_array_equal(whole.images[case.rows][0], native(raw, case.case))
        np.testing.assert_array_equal(whole.masks[case.rows][0] > 0, read(raw / "masks" / f"{case.case}.png") > 0)


def test_a_scale_is_that_of_images_and_masks(raw: Path, tmp_path: Path) -> None:
    opened = SliceStore.open(prepared(raw, tmp_path, tiles={"scale": 0.5})).whole()
    assert [opened.images[row].shape[:2] for row in range(4)] == [(35, 45), (16, 32), (10, 40), (35, 45)]
    assert opened.masks[3].shape == (35, 45)


def test_training_draws_patches_anywhere(raw: Path, store: Path) -> None:
    opened, recipe = SliceStore.open(store), direct_recipe(training={"augmentation": "none"})
    samples = build_samples(opened, opened.rows_of("train"), recipe, None, None)
    image, mask = native(raw, "a"), read(raw / "masks" / "a.png") > 0
    places = set()
    for position in range(18):
        sample = samples[position]
        windows = np.lib.stride_tricks.sliding_window_view(image, (32, 32, 3))[:, :, 0]
        ((top, left),) = np.argwhere((windows == sample["image"].numpy()).all(axis=(2, 3, 4)))
        np.testing.assert_array_equal(sample["mask"][0].numpy() > 0, mask[top : top + 32, left : left + 32])
        places.add((int(top), int(left)))
    assert len(places) > 14
    torch.testing.assert_close(samples[3]["image"], samples[3]["image"])


def test_evaluation_scores_what_predict_writes(raw: Path, store: Path, graph: Path, tmp_path: Path) -> None:
    options = EvaluationOptions(raw=raw, settings=SETTINGS, batch=4)
    evaluate(store, graph, tmp_path / "scores", options)
    images = [raw / "images" / f"{case}.png" for case in ("b", "c")]
    assert predict(graph, images, tmp_path / "masks", options=PredictOptions(overlay=True)) == 0
    evaluate_masks(store, tmp_path / "masks", "files", tmp_path / "of_files", options)
    summaries = [json.loads((tmp_path / place / "summary.json").read_text("utf-8")) for place in ("scores", "of_files")]
    assert summaries[0]["dice"] == summaries[1]["dice"]
    assert summaries[0]["native"] == summaries[1]["native"]
    assert summaries[0]["working"] == summaries[0]["native"]  # their own pixels are what was looked at
    assert summaries[0]["n_slices"] == 2
    for case in ("b", "c"):
        mask = read(tmp_path / "masks" / f"{case}_mask.png") > 0
        assert mask.shape == SIZES[case]
        assert not mask[2:6, -6:-2].any()  # the speck: no part of the largest component of the whole image
        agreement = mask == (read(raw / "masks" / f"{case}.png") > 0)
        assert agreement.mean() > 0.95
    (small,) = [one for one in report(tmp_path / "masks")["inputs"] if one["name"].startswith("c")]
    assert small["tiles"] == {"overlap": 0.5, "blending": "gaussian", "scale": 1.0}
    assert "less than a tile of 32×32" in " ".join(small["notes"])


def test_tiles_may_be_oblong(raw: Path, tmp_path: Path) -> None:
    store = prepared(raw, tmp_path, size=[32, 48])
    opened = SliceStore.open(store)
    assert opened.images.shape[1:3] == (32, 48)
    samples = build_samples(opened, opened.rows_of("train"), direct_recipe(), None, None)
    assert samples[0]["image"].shape[:2] == (32, 48)
    for case in opened.whole().cases:
        np.testing.assert_array_equal(opened.whole().images[case.rows][0], native(raw, case.case))
    described = describe(opened.manifest.image, opened.manifest.structures)
    export_graph(Brightness(opened.manifest.image), described, tmp_path / "model.onnx")
    evaluate(store, tmp_path / "model.onnx", tmp_path / "scores", EvaluationOptions(raw=raw, settings=SETTINGS))
    predict(tmp_path / "model.onnx", [raw / "images" / "b.png"], tmp_path / "masks", options=PredictOptions())
    mask = read(tmp_path / "masks" / "b_mask.png") > 0
    with (tmp_path / "scores" / "cases.csv").open(encoding="utf-8") as stream:
        (row,) = [row for row in csv.DictReader(stream) if row["case"] == "b"]
    truth = read(raw / "masks" / "b.png") > 0
    assert float(row["dice"]) == pytest.approx(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def test_python_gives_what_the_command_gives(raw: Path, graph: Path, tmp_path: Path) -> None:
    assert predict(graph, [raw / "images" / "d.png"], tmp_path) == 0
    mask = load_predictor(graph).predict(native(raw, "d")).mask
    np.testing.assert_array_equal(mask > 0, read(tmp_path / "d_mask.png") > 0)


def test_studies_see_whole_images_and_clock_tiles(store: Path, graph: Path) -> None:
    subject = open_subject(store, graph)
    assert subject.slices == 2
    assert [one.batch for one in efficiency(subject).latency] == [1, 4, 16]
    assert robustness(subject).clean.dice > 0.9


def test_the_user_may_have_tiles_or_not(
    raw: Path, graph: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image, plain = str(raw / "images" / "a.png"), write_model(tmp_path / "plain")
    words = ["predict", image, "--output", str(tmp_path / "out"), "--model"]
    with caplog.at_level(logging.INFO):
        assert main([*words, str(graph), "--overlap", "0.25"]) == 0
        assert report(tmp_path / "out")["inputs"][0]["tiles"]["overlap"] == 0.25
        assert main([*words, str(graph), "--overlap", "0.25"]) == 0
        assert report(tmp_path / "out")["n_kept"] == 1
        assert main([*words, str(graph)]) == 0  # another overlap: another mask
        assert report(tmp_path / "out")["n_kept"] == 0
        assert main([*words, str(graph), "--no-tiles", "--overwrite"]) == 0
        assert "images are resized as a whole" in caplog.text
        assert "tiles" not in report(tmp_path / "out")["inputs"][0]
        assert main([*words, str(plain), "--tiles", "--overwrite"]) == 0
        assert "the model was trained on whole images" in caplog.text
        assert report(tmp_path / "out")["inputs"][0]["tiles"]["overlap"] == 0.5


def test_progress_tells_tiles(raw: Path, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    compute = Stages.compute

    def watched(stages: Stages, group: InputGroup, progress: object) -> None:
        compute(stages, group, lambda done, of: told.append((done, of)))

    monkeypatch.setattr(Stages, "compute", watched)
    assert predict(graph, [raw / "images" / "b.png"], tmp_path) == 0
    assert told == [(number, 6) for number in range(1, 7)]  # 2 rows of 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--overlap", "1"], "'1' is no number from 0 to 0.9"),
        (["--no-tiles", "--overlap", "0.5"], "images are resized as a whole"),
    ],
)
def test_options_that_make_no_sense(
    words: list[str], message: str, raw: Path, graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["predict", str(raw / "images"), "--model", str(graph), "--output", str(tmp_path), *words])
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        ({"overlap": 1}, "overlap.*less than or equal to 0.9"),
        ({"scale": 0}, "scale.*greater than or equal to 0.01"),
        ({"blending": "cubic"}, "blending.*'gaussian' or 'constant'"),
        ({"size": 256}, "the size of a tile is the dataset's own 'size'"),
    ],
)
def test_tiles_that_make_no_sense(tiles: dict[str, Any], message: str) -> None:
    with pytest.raises(ListedError, match=message):
        parse(Dataset, VALUES | {"tiles": tiles}, where="my.yaml")


def test_tiles_are_of_images(raw: Path, tmp_path: Path) -> None:
    ct = {"source": "own", "own": {"layout": "nnunet", "modality": "ct", "windows": {"w": [0, 1]}}, "tiles": {}}
    with pytest.raises(ListedError, match="'tiles' are of images, and these are volumes"):
        parse(Dataset, ct, where="my.yaml")
    unet = {"unet": {"file": "config/recipes/unet.yaml"}}
    run = {"recipes": unet, "datasets": {"btcv": {"source": "btcv", "tiles": {}}}}
    with pytest.raises(UserError, match="'tiles' are of images"):
        configure(run, where="config.yaml")


@pytest.mark.parametrize("size", [16, 48])
def test_a_tile_that_the_network_does_not_allow(size: int) -> None:
    run = {
        "recipes": {"unet": {"file": "config/recipes/unet.yaml"}},
        "datasets": {"cells": VALUES | {"size": size}},
    }
    with pytest.raises(UserError, match=rf"size {size} cannot be halved .*32 is needed\n.*that of a tile"):
        parse(Config, run, where="x").resolve_recipe("cells", "unet")


def test_a_model_of_another_scale_is_refused(raw: Path, store: Path, graph: Path, tmp_path: Path) -> None:
    other = prepared(raw, tmp_path, tiles={"scale": 0.5})
    with pytest.raises(ListedError, match=r"the data have tiles at scale 0\.5, the model wants tiles at scale 1"):
        evaluate(other, graph, tmp_path / "scores")
    again = prepared(raw, tmp_path / "again", tiles={"overlap": 0.25})  # how tiles overlap is the model's affair
    evaluate(again, graph, tmp_path / "scores", EvaluationOptions(raw=raw, settings=SETTINGS))
    with (tmp_path / "scores" / "cases.csv").open(encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) > 0
