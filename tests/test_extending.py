"""CONTRIBUTING.md: one of each is added here, in a table and for a moment, and works from end to end."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import yaml
from pydantic import FiniteFloat

from sdseg.artifacts.image_contract import Structure
from sdseg.artifacts.results.studies import Study
from sdseg.backends.base import batch_for, samples_of
from sdseg.backends.graph import GraphHypotheses
from sdseg.backends.graph_checksum import open_manifest
from sdseg.backends.open_model import open_model
from sdseg.backends.providers import PROVIDERS, Runtime
from sdseg.config.dataset import Dataset
from sdseg.config.patches import SlidingWindow
from sdseg.config.recipe import load_recipe
from sdseg.config.studies import Studies
from sdseg.config.study_options import STUDY_OPTIONS
from sdseg.core.array_types import AnyArray, FloatArray
from sdseg.core.files import read_json
from sdseg.data.prepare import prepare
from sdseg.data.store import SliceStore
from sdseg.datasets import layouts, sources
from sdseg.datasets.mask_values import WHITE_ON_BLACK
from sdseg.evaluation.evaluate import evaluate
from sdseg.evaluation.studies.run import STUDIES, Origins, Scope, study
from sdseg.evaluation.studies.studied_model import Subject
from sdseg.inference.dicom_seg import Maker
from sdseg.inference.native_size import NativeSegmentation
from sdseg.inference.predict import predict
from sdseg.inference.write_outputs import FORMATS, Format
from sdseg.metrics.metric_table import METRICS, MaskPair, Metric
from sdseg.metrics.overlap import Score
from tests.helpers.networks import direct_recipe
from tests.helpers.raw_files import SIX, encode, picture, write_split
from tests.helpers.tiny import write_store
from tests.helpers.training import run


def test_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dots = sources.Source(
        name="dots",
        title="Dots",
        modality="rgb",
        page="https://example.org/dots",
        licence="CC0",
        layout="dots/*.png and truth/*.png",
        labels=MappingProxyType({1: "dot"}),
        targets=MappingProxyType({"dot": (Structure(name="dot", values=(1,)),)}),
        coding=WHITE_ON_BLACK,
    )
    where = ((layouts.FilePair("dots", ("truth",), (".png",), (".png",)),),)
    monkeypatch.setattr(sources, "SOURCES", {**sources.SOURCES, "dots": dots})
    monkeypatch.setattr(layouts, "LAYOUTS", {**layouts.LAYOUTS, "dots": where})
    for number, case in enumerate(SIX):
        for folder, pixels in zip(("dots", "truth"), picture(number, 40, 56), strict=True):
            encode(tmp_path / "raw" / folder / f"{case}.png", pixels)
    split = write_split(tmp_path / "split.csv", SIX)
    settings = Dataset.model_validate({"source": "dots", "size": 32})
    prepare(name="dots", settings=settings, raw=tmp_path / "raw", split=split, output=tmp_path / "prepared")
    store = SliceStore.open(tmp_path / "prepared", verify=True)
    assert {case.case: case.split for case in store.cases} == SIX
    assert store.manifest.structures == dots.targets["dot"]


def test_a_recipe(tmp_path: Path) -> None:
    written = direct_recipe(training={"steps": 1, "checkpoint_every": 1}).model_dump(mode="json")
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(written | {"description": "mine"}), encoding="utf-8")
    write_store(tmp_path / "prepared")
    model = run(tmp_path, tmp_path / "run", load_recipe(file))
    assert open_model(model).training["steps"] == 1


def size_error(compared: MaskPair) -> Score:
    """How many pixels too many or too few."""
    return Score(float(abs(compared.pixels.predicted[0] - compared.pixels.labelled[0])))


def test_a_metric(bright_rgb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "size_error", Metric("Size error", size_error))
    evaluate(write_store(tmp_path / "prepared"), bright_rgb, tmp_path / "scores")
    rows = list(csv.DictReader((tmp_path / "scores" / "cases.csv").read_text("utf-8").splitlines()))
    errors = [abs(int(row["pixels_predicted"]) - int(row["pixels_labelled"])) for row in rows]
    assert [float(row["size_error"]) for row in rows] == errors
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text("utf-8"))
    assert summary["working"]["metrics"]["size_error"]["mean"] == pytest.approx(np.mean(errors))
    assert summary["structures"]["polyp"]["size_error"]["n"] == len(rows)


class Halves(GraphHypotheses):
    """Computes no graph at all: the left half of every image, or patch, is inside."""

    name = "halves"

    def __init__(self, path: Path, seed: int) -> None:
        self.manifest, self.path = open_manifest(path), path

    def run_graph(self, outputs: Sequence[str], fed: AnyArray) -> list[FloatArray]:
        *leading, width, _ = fed.shape
        count, *rows = leading
        one = np.broadcast_to(np.arange(width) < width // 2, (count, 1, *rows, width)).astype(np.float32)
        return [one for _ in outputs]


def test_a_backend(bright_rgb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROVIDERS, "halves", Runtime("halves", Halves))
    encode(tmp_path / "in" / "a.png", np.zeros((20, 60, 3), np.uint8))
    assert predict(bright_rgb, [tmp_path / "in"], tmp_path / "out", "halves") == 0
    record = json.loads((tmp_path / "out" / "predict.json").read_text("utf-8"))
    assert (record["backend"], record["inputs"][0]["pixels"]) == ("halves", {"polyp": 20 * 30})
    backend, volume = Halves(bright_rgb, 0), np.zeros((6, 32, 32, 3), np.uint8)
    backend.manifest = backend.manifest.model_copy(
        update={"sliding_window": SlidingWindow(size=(4, 32, 16), overlap=0)}
    )
    assert (batch_for(backend, 8), samples_of(backend)) == (None, 1)  # volumes, and their one hypothesis
    quarters = backend.hypotheses(volume)  # of each of the two patches side by side the left half
    assert quarters.shape == (6, 1, 1, 32, 32)
    assert quarters[:, 0, 0].mean(axis=(0, 1)).tolist() == [1.0] * 8 + [0.0] * 8 + [1.0] * 8 + [0.0] * 8


class Areas(Study):
    """How much of the cases the model finds."""

    share: FiniteFloat


class Chosen(Studies):
    areas: bool = True


def areas(subject: Subject) -> Areas:
    start, stop = subject.cases[0].start, subject.cases[-1].start + subject.cases[-1].slices
    found = subject.served.backend.probability(subject.store.images[start:stop]) > 0.5
    return Areas.checked(**subject.header("areas"), share=float(found.mean()))


def test_a_study(bright_rgb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STUDIES, "areas", lambda subject, *_: areas(subject))
    only = Chosen(**dict.fromkeys(STUDY_OPTIONS, False) | {"stability": None})
    prepared = write_store(tmp_path / "prepared")
    study(prepared, bright_rgb, tmp_path / "evaluation", only, Scope(), Origins())
    assert [path.name for path in (tmp_path / "evaluation").iterdir()] == ["areas.json"]
    record = read_json(tmp_path / "evaluation" / "areas.json", Areas)
    assert (record.study, record.n_cases, record.recipe) == ("areas", 3, "bright")
    store = SliceStore.open(prepared)
    labelled = [store.masks[case.start] > 0 for case in store.cases_of("test")]
    assert record.share == pytest.approx(np.mean(labelled), abs=0.02)


def save_array(path: Path, native: NativeSegmentation, maker: Maker) -> None:
    with path.open("wb") as stream:
        np.save(stream, native.ids())


def test_an_output_format(bright_rgb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, ".png", Format(".npy", ".npy", save_array))
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[10:30, 20:50] = 255
    for name in ("a.png", "b.bmp"):
        encode(tmp_path / "in" / name, pixels)
    assert predict(bright_rgb, [tmp_path / "in"], tmp_path / "out") == 0
    mask = np.load(tmp_path / "out" / "a_mask.npy")
    assert mask.shape == (1, 40, 60)
    assert mask[0, 20, 35] == 1
    assert mask[0, 2, 2] == 0
    assert (tmp_path / "out" / "b_mask.png").exists()  # other inputs are written as ever
