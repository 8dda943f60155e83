"""Bad input of every kind among good: one clear message each, and the others are done."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import onnx
import PIL.Image
import pydicom
import pytest

from sdseg.core.errors import UserError
from sdseg.inference.choose_model import choose_model
from sdseg.inference.find_inputs import InputFile
from sdseg.inference.pipeline import Stages, input_groups
from sdseg.inference.predict import PredictOptions, predict
from sdseg.inference.run_record import RunLog
from sdseg.io.limits import Limits
from tests.helpers.own_files import photos, read, report, scan
from tests.helpers.raw_files import encode, save, write_series
from tests.helpers.tiny import write_model


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
        assert predict(bright_rgb, [folder], tmp_path / "out", options=PredictOptions(overlay=True)) == 1
    found = report(tmp_path / "out")
    assert {Path(one["input"]).name: one["problem"].split(":")[0] for one in found["failures"]} == {
        "empty.png": "the file is empty",
        "text.png": "not a readable image",
        "cut.bmp": "not a readable image",
        "float.tif": "pixels of 32-bit floating-point numbers; 8 or 16 bits are expected, of which 255 or 65535 is "
        "white",
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


def test_strange_files_fail_by_themselves(bright_rgb: Path, tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", 1)
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "circle.png").symlink_to(folder / "circle.png")
    (folder / "round").symlink_to(folder / "round")
    PIL.Image.new("1", (30000, 30000)).save(folder / "large.png")
    named = [folder / name for name in ("pipe.png", "zero.png", "circle.png", "round")]
    for inputs in ([folder], [*named, folder]):
        assert predict(bright_rgb, inputs, tmp_path / "out") == 1
        found = report(tmp_path / "out")
        assert [record["name"] for record in found["inputs"]] == ["000"]
        problems = {Path(one["input"]).name: one["problem"].split(";")[0] for one in found["failures"]}
        assert problems | {"round": ""} == {
            "pipe.png": "a named pipe",
            "zero.png": "a device",
            "circle.png": "cannot be read: Too many levels of symbolic links",
            "large.png": "30000×30000 pixels by its header, 900,000,000 in all",
            "round": "",
        }
    limits = Limits(pixels=1599)
    assert (
        predict(
            bright_rgb, [folder / "000.bmp"], tmp_path / "out", options=PredictOptions(overwrite=True, limits=limits)
        )
        == 1
    )
    (failure,) = report(tmp_path / "out")["failures"]
    assert failure["problem"].startswith("40×40 pixels by its header, 1,600 in all; at most 1,599 are read")
    assert "--max-pixels" in failure["remedy"]


def test_headers_that_promise_too_much_fail_by_themselves(bright_ct: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    uid = "1.2.826.0.1.3680043.2.1125."
    for number, name in enumerate(("good", "huge", "flat", "none", "empty")):
        place = {"t0020_000e": f"{uid}{number}", "t0020_000d": f"{uid}9", "t0020_0052": f"{uid}8"}
        write_series(folder / name, scan(), **place)
    for name, tags in {
        "huge": {"Rows": 65535, "Columns": 65535},
        "flat": {"PixelSpacing": [0, 0]},
        "none": {"ImageOrientationPatient": [0] * 6},
        "empty": {"Rows": 0},
    }.items():
        for path in (folder / name).iterdir():
            header = pydicom.dcmread(path)
            header.update(tags)
            header.save_as(path)
    (folder / "out.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\nElementDataFile = /etc/passwd\n"
    )
    assert predict(bright_ct, [folder], tmp_path / "out") == 1
    found = report(tmp_path / "out")
    assert [record["name"] for record in found["inputs"]] == ["good"]
    problems = {Path(one["input"]).name: one["problem"] for one in found["failures"]}
    assert set(problems) == {"huge", "flat", "none", "empty", "out.mhd"}
    assert "it promises 65535 rows" in problems["huge"]
    assert "a pixel spacing of 0 and 0 mm" in problems["flat"]
    assert "directions of rows and columns" in problems["none"]
    assert "an image of 0 rows" in problems["empty"]
    assert "the voxels lie in '/etc/passwd'" in problems["out.mhd"]
    assert not any("please report" in one["remedy"] for one in found["failures"])


def test_unlikely_values_and_grids_are_noted(bright_ct: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save(folder / "bytes.nii", (scan() + 120).clip(0, 255).astype(np.uint8))
    save(folder / "large.nii", np.where(scan() > 0, 1e30, -1000).astype(np.float32))
    save(folder / "far.nii", scan(), np.diag([1e6, 1, 1, 1]))
    save(folder / "usual.nii", scan())
    nib.save(nib.Nifti1Image(scan(), None), folder / "no_codes.nii")
    assert predict(bright_ct, [folder], tmp_path / "out") == 0
    notes = {record["name"]: record["notes"] for record in report(tmp_path / "out")["inputs"]}
    assert notes["usual"] == []
    assert ["8 bits a voxel, values from 0 to 255" in note for note in notes["bytes"]] == [True]
    beyond, clipped = notes["large"]
    assert "values from -1000 to 1e+30: beyond the 16 bits" in beyond
    assert clipped == "values from -1000 to 1e+30 are clipped to -32768 to 32767"
    assert ["voxels of 1e+06 × 1 × 1 mm, an unlikely spacing" in note for note in notes["far"]] == [True]
    (assumed,) = notes["no_codes"]
    assert (
        "says nothing of the orientation (qform_code and sform_code are 0): its axes were taken to run LAS" in assumed
    )


def test_a_series_of_another_modality_is_told_with_what_the_model_is(bright_ct: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "mr", scan(), t0008_0060="MR", t0008_103e="t1 tse")
    assert predict(bright_ct, [tmp_path / "in"], tmp_path / "out") == 1
    (failure,) = report(tmp_path / "out")["failures"]
    assert failure["problem"].startswith("series 't1 tse', 5 file(s): modality 'MR'; the model is ")
    assert "made for volumes of 'modality: ct'; of DICOM, CT series alone are read" in failure["problem"]
    assert "for datasets of 'modality: mr', and for models trained on them" in failure["remedy"]


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
    stages = Stages(chosen, tmp_path / "out", PredictOptions(), RunLog(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    files = [InputFile(tmp_path / name, name, "series", key=name) for name in ("a", "good.nii")]
    nowhere = replace(files[0], files=(None,))  # type: ignore[arg-type]  # as a library's own mistake would do
    group = stages.read([nowhere, replace(files[1], kind="volume")])
    assert (group.count, len(group.opened)) == (2, 1)
    (failure,) = stages.run_log.failures
    assert failure["problem"].startswith("cannot be worked on: ")
    assert "please report this" in failure["remedy"]
    # Writing: a file that came to lie there meanwhile, and the others are written.
    stages.compute(group)
    late = stages.read([replace(files[1], kind="volume", name="x", key="x")])
    stages.compute(late)
    (tmp_path / "out" / "x_mask.nii.gz").write_text("mine")
    assert (stages.write(late), stages.write(group)) == (1, 2)
    assert "would replace a file that no run into this folder wrote" in stages.run_log.failures[-1]["problem"]
    assert (tmp_path / "out" / "x_mask.nii.gz").read_text() == "mine"
    assert [record["name"] for record in stages.run_log.done] == ["good.nii"]


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
    assert [len(group) for group in input_groups(files, 4)] == [3, 4, 1]


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
