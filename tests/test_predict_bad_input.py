"""Bad input of every kind among good: one clear message each, and the others are done."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import PIL.Image
import pytest

from sdseg.data.inputs import InputFile
from sdseg.errors import UserError
from sdseg.predict import Wanted, predict
from sdseg.predicting.account import Account
from sdseg.predicting.choosing import choose_model
from sdseg.predicting.stages import Stages, groups
from tests.own_files import photos, read, report, scan
from tests.raw_files import encode, save
from tests.tiny import write_model


def test_bad_images_one_message_each(bright_rgb: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = photos(tmp_path / "in", 1)
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("no picture")
    (folder / "cut.bmp").write_bytes((folder / "000.bmp").read_bytes()[:40])
    encode(folder / "float.tif", np.zeros((8, 8), np.float32))
    encode(folder / "one.png", np.full((1, 1, 3), 255, np.uint8))
    encode(folder / "sliver.png", np.full((20, 30000, 3), 255, np.uint8))
    encode(folder / "twelve.png", np.random.default_rng(0).integers(1000, 4095, (20, 20)).astype(np.uint16))
    with caplog.at_level(logging.INFO, logger="sdseg"):
        assert predict(bright_rgb, [folder], tmp_path / "out", wanted=Wanted(overlay=True)) == 1
    found = report(tmp_path / "out")
    assert {Path(one["input"]).name: one["problem"].split(":")[0] for one in found["failures"]} == {
        "empty.png": "the file is empty",
        "text.png": "not a readable image",
        "cut.bmp": "not a readable image",
        "float.tif": "not a readable image",
    }
    notes = {record["name"]: record["notes"] for record in found["inputs"]}
    assert notes["000"] == []
    assert "1×1 pixels, enlarged" in notes["one"][0]
    assert "30000×20 pixels, squeezed" in notes["sliver"][0]
    assert "16 bits of which only the values 1" in notes["twelve"][0]
    assert read(tmp_path / "out" / "sliver_mask.png").shape == (20, 30000)
    assert read(tmp_path / "out" / "one_mask.png").shape == (1, 1)
    assert max(read(tmp_path / "out" / "sliver_overlay.png").shape) == 30000
    for name in ("empty.png", "text.png", "cut.bmp", "float.tif", "one.png", "sliver.png"):
        assert sum(name in record.getMessage() for record in caplog.records) == 1


def test_bad_scans_one_message_each(bright_ct: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save(folder / "good.nii", scan())
    save(folder / "offset.nii", (scan() + 1024).astype(np.uint16))
    save(folder / "unit.nii", np.random.default_rng(0).random((4, 4, 4), dtype=np.float32))
    save(folder / "nan.nii", np.full((4, 4, 4), np.nan, np.float32))
    save(folder / "4d.nii", np.zeros((4, 4, 4, 2), np.int16))
    (folder / "text.mha").write_text("no volume")
    assert predict(bright_ct, [folder], tmp_path / "out") == 1
    found = report(tmp_path / "out")
    problems = {Path(one["input"]).name: one["problem"] for one in found["failures"]}
    assert sorted(problems) == ["4d.nii", "nan.nii", "text.mha", "unit.nii"]
    assert "normalised" in problems["unit.nii"]
    notes = {record["name"]: record["notes"] for record in found["inputs"]}
    assert notes["good"] == []
    assert "stored with an offset of 1024" in notes["offset"][0]


def test_files_for_another_kind_of_model_are_one_line(
    bright_ct: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="sdseg"):
        assert predict(bright_ct, [photos(tmp_path / "in", 30)], tmp_path / "out") == 1
    assert len(report(tmp_path / "out")["failures"]) == 30
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "30 inputs (" in errors[0]
    assert "made for CT volumes" in errors[0]


def test_what_no_one_has_thought_of_is_one_files_failure(bright_ct: Path, tmp_path: Path) -> None:
    save(tmp_path / "good.nii", scan())
    chosen = choose_model(bright_ct, "cpu")
    stages = Stages(chosen, tmp_path / "out", Wanted(), Account(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    files = [InputFile(tmp_path / name, name, "series", key=name) for name in ("a", "good.nii")]
    nowhere = replace(files[0], files=(None,))  # type: ignore[arg-type]  # as a library's own mistake would do
    group = stages.read([nowhere, replace(files[1], kind="volume")])
    assert (group.count, len(group.opened)) == (2, 1)
    (failure,) = stages.account.failures
    assert failure["problem"].startswith("cannot be worked on: ")
    assert "please report this" in failure["remedy"]
    # Writing: a file that came to lie there meanwhile, and the others are written.
    stages.compute(group)
    late = stages.read([replace(files[1], kind="volume", name="x", key="x")])
    stages.compute(late)
    (tmp_path / "out" / "x_mask.nii.gz").write_text("mine")
    assert (stages.write(late), stages.write(group)) == (1, 2)
    assert "would replace a file that no run into this folder wrote" in stages.account.failures[-1]["problem"]
    assert (tmp_path / "out" / "x_mask.nii.gz").read_text() == "mine"
    assert [record["name"] for record in stages.account.done] == ["good.nii"]


def test_names_as_long_as_the_disk_takes(bright_rgb: Path, tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", 1)
    for letters in (246, 247):
        encode(folder / f"{'x' * letters}.png", np.zeros((20, 20, 3), np.uint8))
    assert predict(bright_rgb, [folder], tmp_path / "out") == 1
    (failure,) = report(tmp_path / "out")["failures"]
    assert failure["problem"] == "its result would have a name of 256 bytes, and the disk takes 255"
    assert failure["remedy"] == "give the file a shorter name"
    assert read(tmp_path / "out" / f"{'x' * 246}_mask.png").shape == (20, 20)


def test_a_model_of_phantoms_says_so(bright_rgb: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="sdseg"):
        assert predict(bright_rgb, [photos(tmp_path / "in", 1)], tmp_path / "out") == 0
    assert "trained on phantoms" in caplog.text
    assert report(tmp_path / "out")["model"]["origin"] == "phantom"


def test_large_images_share_no_group(tmp_path: Path) -> None:
    files = []
    for number, size in enumerate((10, 10, 5000, 5000, 10, 10, 10)):
        path = tmp_path / f"{number}.png"
        PIL.Image.new("1", (size, size)).save(path)
        files.append(InputFile(path, path.stem, "image"))
    files.append(InputFile(tmp_path / "v.nii", "v", "volume"))
    assert [len(group) for group in groups(files, 4)] == [3, 4, 1]


# Models that are none


def test_models_that_cannot_be_opened(bright_rgb: Path, tmp_path: Path) -> None:
    photos(tmp_path / "in", 1)
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(bright_rgb.read_bytes()[:-200])
    foreign = tmp_path / "foreign.onnx"
    graph = onnx.load(bright_rgb)
    del graph.metadata_props[:]
    onnx.save(graph, foreign)
    newer = write_model(tmp_path / "newer")
    text = (newer / "config.json").read_text("utf-8")
    (newer / "config.json").write_text(text.replace('"format": 1', '"format": 99'), "utf-8")
    damaged = write_model(tmp_path / "damaged")
    (damaged / "weights.safetensors").write_bytes((damaged / "weights.safetensors").read_bytes()[:-9])
    (tmp_path / "codec").mkdir()
    (tmp_path / "codec" / "config.json").write_text('{"format": 1, "kind": "sdseg-codec"}')
    (tmp_path / "model.pt").write_bytes(b"pickle")
    for path, message in {
        cut: "not an ONNX graph that can be run",
        foreign: "a foreign ONNX file",
        newer: "format 99 is newer than this sdseg",
        damaged: "is damaged or foreign",
        tmp_path / "codec": "not a ModelManifest",
        tmp_path / "model.pt": "is neither",
        tmp_path / "missing": "there is no such model",
        tmp_path / "in": "no model in this folder",
    }.items():
        with pytest.raises(UserError, match=message):
            predict(path, [tmp_path / "in"], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
