"""Runs of `predict` as a whole: what is given, what is kept, what ends a run, what memory it takes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from functools import partial
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import PIL.Image
import pytest
import SimpleITK

from sdseg.cli.commands import main
from sdseg.inference.predict import PredictOptions, predict
from tests.helpers.own_files import photos, read, report, scan
from tests.helpers.raw_files import encode, save, write_series
from tests.helpers.tiny import RGB, picture, write_graph

STUDY = {"t0020_000d": "1.2.826.0.1.3680043.2.1125.9", "t0020_0052": "1.2.826.0.1.3680043.2.1125.8"}


# What is given


def test_images_of_every_depth_and_kind_of_colour(bright_rgb: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    pixels = picture(RGB, 3, size=48)[0][:, :36]
    grey = pixels[..., 0]
    encode(folder / "colour.png", pixels)
    encode(folder / "grey.png", grey)
    encode(folder / "grey16.tif", grey.astype(np.uint16) * 257)
    encode(folder / "alpha.png", np.dstack([pixels, np.full_like(grey, 9)]))
    encode(folder / "colour16.png", pixels.astype(np.uint16) * 257)
    PIL.Image.fromarray(grey).convert("P").save(folder / "palette.png")
    assert predict(bright_rgb, [folder], tmp_path / "out") == 0
    masks = {path.name: read(path) for path in (tmp_path / "out").glob("*.png")}
    for name in ("alpha", "colour16"):
        np.testing.assert_array_equal(masks[f"{name}_mask.png"], masks["colour_mask.png"])
    for name in ("grey16", "palette"):
        np.testing.assert_array_equal(masks[f"{name}_mask.png"], masks["grey_mask.png"])
    assert {mask.shape for mask in masks.values()} == {(48, 36)}
    assert not any(record["notes"] for record in report(tmp_path / "out")["inputs"])


def test_a_mask_lies_upright_as_a_viewer_shows_the_photo(bright_rgb: Path, tmp_path: Path) -> None:
    pixels = picture(RGB, 4, size=64)[0][:, :40]
    tags = PIL.Image.Exif()
    tags[0x0112] = 6  # turn right by a quarter to see it upright
    (tmp_path / "in").mkdir()
    PIL.Image.fromarray(pixels).save(tmp_path / "in" / "turned.jpg", quality=95, exif=tags)
    upright = PIL.Image.fromarray(np.ascontiguousarray(np.rot90(pixels, -1)))
    upright.save(tmp_path / "in" / "upright.png")
    assert predict(bright_rgb, [tmp_path / "in"], tmp_path / "out") == 0
    turned, expected = (read(tmp_path / "out" / f"{name}_mask.png") for name in ("turned", "upright"))
    assert turned.shape == expected.shape == (40, 64)
    assert np.mean(turned != expected) < 0.02


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_metaimage_and_nrrd_keep_format_and_grid(bright_ct: Path, tmp_path: Path, suffix: str) -> None:
    image = SimpleITK.GetImageFromArray(scan().transpose(2, 1, 0))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((3.0, -4.0, 5.0))
    image.SetDirection((0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    SimpleITK.WriteImage(image, str(tmp_path / f"v{suffix}"))
    assert (
        predict(bright_ct, [tmp_path / f"v{suffix}"], tmp_path / "out", options=PredictOptions(probability=True)) == 0
    )
    mask = SimpleITK.ReadImage(str(tmp_path / "out" / f"v_mask{suffix}"))
    assert mask.IsSameImageGeometryAs(image)
    found = SimpleITK.GetArrayFromImage(mask) > 0
    dense = SimpleITK.GetArrayFromImage(image) > 0
    assert 2 * (found & dense).sum() / (found.sum() + dense.sum()) > 0.9
    probability = SimpleITK.ReadImage(str(tmp_path / "out" / f"v_probability_disc{suffix}"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(probability) > 0.5, found)


def test_a_patient_folder_of_dicom(bright_ct: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    patient = tmp_path / "patient é"

    def series(number: int, voxels: np.ndarray, prefix: str, **tags: str) -> None:
        names = [f"{prefix}{place}.dcm" for place in range(voxels.shape[2])]
        own = {"t0020_000e": f"1.2.826.0.1.3680043.2.1125.{number}", "t0020_0011": str(number)}
        write_series(patient, voxels, names=names, **(STUDY | own | tags))

    series(1, scan(1), "scout", t0008_0008="ORIGINAL\\PRIMARY\\LOCALIZER")
    series(2, scan(), "whole")
    series(3, scan(6), "gap")
    (patient / "gap3.dcm").unlink()
    series(4, scan(), "mr", t0008_0060="MR")
    (patient / "letter.dcm").write_text("no DICOM")
    save(patient / "twin.nii.gz", scan(), np.diag([-2.0, -3.0, 5.0, 1.0]))
    assert predict(bright_ct, [patient], tmp_path / "out", options=PredictOptions(overlay=True, probability=True)) == 1
    assert caplog.text.count("no code of SNOMED CT is known for disc, cup") == 1
    found = report(tmp_path / "out")
    assert {record["name"] for record in found["inputs"]} == {"twin", "patient é_series2"}
    assert {record["intensity_unit"] for record in found["inputs"]} == {"file's own", "HU"}
    assert ["a localiser" in skipped["reason"] for skipped in found["skipped"]] == [True]
    problems = sorted(failure["problem"] for failure in found["failures"])
    assert len(problems) == 3
    assert problems[0].startswith("cannot be read: not a DICOM file")
    assert problems[1].startswith("series 'abdomen', 5 file(s): modality 'MR'; the model is ")
    assert "slices are missing between" in problems[2]
    # The series' masks are those of the same voxels as NIfTI.
    whole = next(record for record in found["inputs"] if record["name"].endswith("series2"))
    assert whole["outputs"]["mask"] == "patient é_series2_mask.dcm"
    assert whole["outputs"]["probability_disc"].endswith(".nii.gz")
    seg = highdicom.seg.segread(tmp_path / "out" / whole["outputs"]["mask"])
    twin = np.asarray(nib.load(tmp_path / "out" / "twin_mask.nii.gz").dataobj)
    assert whole["pixels"]["disc"] == np.count_nonzero(twin)
    assert seg.pixel_array.sum() == sum(whole["pixels"].values())
    assert read(tmp_path / "out" / whole["outputs"]["overlay"]).ndim == 3


# Runs that are continued


def test_what_is_done_is_kept(bright_rgb: Path, tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "in", 3), tmp_path / "out"
    assert predict(bright_rgb, [folder], out) == 0
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    encode(folder / "001.bmp", picture(RGB, 6, size=44)[0])
    (out / "002_mask.png").unlink()
    assert predict(bright_rgb, [folder], out) == 0
    found = report(out)
    assert [record["kept"] for record in found["inputs"]] == [True, False, False]
    assert (found["n_done"], found["n_kept"]) == (3, 1)
    changed = {path.name for path in out.glob("*.png") if path.stat().st_mtime_ns != times[path.name]}
    assert changed == {"001_mask.png", "002_mask.png"}
    assert read(out / "001_mask.png").shape == (44, 44)
    # Other results, another model, or the wish to have it again.
    other = write_graph(tmp_path / "other.onnx", RGB.model_copy(update={"size": 24}))
    for model, wanted in (
        (bright_rgb, PredictOptions(overlay=True)),
        (bright_rgb, PredictOptions(overwrite=True)),
        (other, PredictOptions()),
    ):
        assert predict(model, [folder], out, options=wanted) == 0
        assert report(out)["n_kept"] == 0


def test_files_of_the_users_are_not_replaced(bright_rgb: Path, tmp_path: Path) -> None:
    folder = photos(tmp_path / "d", 2)
    mine = encode(folder / "000_mask.png", picture(RGB, 5, size=30)[0]).read_bytes()
    (folder / "001_mask.png").write_bytes(b"drawn by hand")
    named = [folder / "*.bmp", folder / "000_mask.png"]
    for wanted, refused in ((PredictOptions(), {"000.bmp", "001.bmp"}), (PredictOptions(overwrite=True), {"000.bmp"})):
        assert predict(bright_rgb, named, folder, options=wanted) == 1
        found = report(folder)
        problems = {Path(one["input"]).name: one["problem"] for one in found["failures"]}
        assert set(problems) == refused
        assert problems["000.bmp"] == "its result '000_mask.png' would replace another input of this run"
        assert (folder / "000_mask.png").read_bytes() == mine
        assert (folder / "000_mask_mask.png").exists()
        if not wanted.overwrite:
            assert "would replace a file that no run into this folder wrote" in problems["001.bmp"]
            assert (folder / "001_mask.png").read_bytes() == b"drawn by hand"
    assert read(folder / "001_mask.png").shape == (40, 40)
    assert not list(folder.glob(".*"))


def test_a_result_that_was_corrected_by_hand_is_left(bright_rgb: Path, tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "in", 2), tmp_path / "out"
    assert predict(bright_rgb, [folder], out) == 0
    corrected = encode(out / "001_mask.png", np.full((40, 40), 255, np.uint8)).read_bytes()
    for _ in range(2):
        assert predict(bright_rgb, [folder], out) == 1
        (failure,) = report(out)["failures"]
        assert failure["problem"] == (
            "its result '001_mask.png' was changed since an earlier run wrote it: it is left as it is"
        )
        assert "--overwrite" in failure["remedy"]
        assert (out / "001_mask.png").read_bytes() == corrected
    assert predict(bright_rgb, [folder], out, options=PredictOptions(overwrite=True)) == 0
    assert (out / "001_mask.png").read_bytes() != corrected


def test_results_in_a_copied_folder_are_still_ours(bright_rgb: Path, tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", 1)
    assert predict(bright_rgb, [folder], tmp_path / "out") == 0
    shutil.copytree(tmp_path / "out", tmp_path / "copy", copy_function=shutil.copyfile)  # other times of change
    assert predict(bright_rgb, [folder], tmp_path / "copy", options=PredictOptions(overlay=True)) == 0


def test_names_of_other_inputs_are_not_taken(bright_rgb: Path, tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        encode(tmp_path / name / "1.png", picture(RGB, number, size=40 + number)[0])
        assert predict(bright_rgb, [tmp_path / name / "1.png"], tmp_path / "out") == 0
    assert predict(bright_rgb, [tmp_path / "*" / "1.png"], tmp_path / "out") == 0
    found = report(tmp_path / "out")
    assert [(record["name"], record["shape"], record["kept"]) for record in found["inputs"]] == [
        ("1", [40, 40], True),
        ("1-2", [41, 41], True),
    ]
    assert read(tmp_path / "out" / "1_mask.png").shape == (40, 40)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_ended_continues(bright_rgb: Path, tmp_path: Path, how: signal.Signals) -> None:
    folder, out = photos(tmp_path / "in", 60), tmp_path / "out"
    large = [folder / f"z{index}.png" for index in range(20)]  # come last and take seconds: time to end the run
    PIL.Image.new("RGB", (5000, 5000)).save(large[0])
    for another in large[1:]:
        another.hardlink_to(large[0])
    command = [sys.executable, "-m", "sdseg", "predict", "--model", bright_rgb, folder, "--output", out]
    heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # jobs in the background of a shell ignore it
    with subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8", preexec_fn=heeded) as run:
        while len(list(out.glob("*_mask.png"))) <= 20 and run.poll() is None:
            time.sleep(0.002)
        run.send_signal(how)
        told = run.communicate()[1]
    written = len(list(out.glob("*_mask.png")))
    assert 20 < written < 80
    assert not (out / "predict.json").exists()
    if how == signal.SIGINT:
        assert run.returncode == 130
        assert f"{written} of 80 inputs are done; the same command continues" in told
    assert "Traceback" not in told
    for each in large:
        each.unlink()
    (out / ".007_mask.png.x.part").touch()  # as a kill in the midst of writing leaves it
    assert predict(bright_rgb, [folder], out) == 0
    found = report(out)
    assert (found["n_done"], found["n_failed"]) == (60, 0)
    assert min(written, 60) - 2 <= found["n_kept"] <= min(written, 60)
    assert not list(out.glob(".*"))


FULL = """
import json, subprocess, sys
from pathlib import Path
from sdseg.cli.commands import main

model, inputs, place = sys.argv[1:]
mount = ["mount", "-t", "tmpfs", "none", place, "-o"]
subprocess.run([*mount, "size=400k"], check=True)
command = ["predict", "--model", model, inputs, "--output", f"{place}/out", "--probability"]
first = main(command)
subprocess.run([*mount, "remount,size=20m"], check=True)
second = main(command)
report = json.loads(Path(place, "out", "predict.json").read_text("utf-8"))
subprocess.run([*mount, "remount,ro"], check=True)
print(first, second, main([*command, "--overwrite"]), report["n_done"], report["n_kept"] > 0)
"""


@pytest.mark.parametrize("kind", ["images", "volumes"])
def test_a_full_disk_ends_the_run_which_then_continues(
    bright_rgb: Path, bright_ct: Path, tmp_path: Path, kind: str
) -> None:
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("no right to mount a small disk here")
    if kind == "images":
        photos(tmp_path / "in", 60, size=100)
    else:  # many compress to less than the little room that is left in the end
        noise = np.random.default_rng(0).integers(-200, 200, (26, 30, 30)).astype(np.int16)
        for number in range(10):
            series = {"t0020_000e": f"1.2.826.0.1.3680043.2.1125.{number}"}
            write_series(tmp_path / "in" / f"{number}", noise[:, :, :20], **(STUDY | series))
            save(tmp_path / "in" / f"{number}.nii", noise)
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise), str(tmp_path / "in" / f"{number}.mha"))
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise), str(tmp_path / "in" / f"{number}.nrrd"))
    (tmp_path / "disk").mkdir()
    model, count = (bright_rgb, 60) if kind == "images" else (bright_ct, 40)
    command = ["unshare", "-rm", sys.executable, "-c", FULL, model, tmp_path / "in", tmp_path / "disk"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.split() == ["2", "0", "2", str(count), "True"]
    errors = [line for line in done.stderr.splitlines() if line.startswith("sdseg predict: error")]
    assert errors == [
        "sdseg predict: error: cannot write: No space left on device",
        "sdseg predict: error: cannot write: Read-only file system",
    ]


def test_memory_does_not_grow_with_the_number_of_files(bright_rgb: Path, tmp_path: Path) -> None:
    peaks = []
    for count in (24, 120):
        photos(tmp_path / str(count), count, size=192)  # 110 kB of pixels and 147 kB of probability each
        tracemalloc.start()
        assert (
            predict(
                bright_rgb, [tmp_path / str(count)], tmp_path / f"out{count}", options=PredictOptions(probability=True)
            )
            == 0
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 4e6  # 96 files more: their probability alone would be 14 MB


def test_the_command_line(bright_rgb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = photos(tmp_path / "in", 1)
    command = ["predict", "--model", str(bright_rgb), "--output", str(tmp_path / "out")]
    assert main([*command, f"{folder}/*.bmp", "--device", "cpu"]) == 0
    assert main([*command, f"{folder}/*.bmp", f"{folder}/*.png"]) == 1
    assert report(tmp_path / "out")["failures"][0]["problem"] == "the pattern matches nothing"
    with pytest.raises(SystemExit, match="2"):
        main([*command, str(folder), "--batch", "0"])
    assert "'0' is no whole number from 1" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        main(["predict", "--help"])
    told = capsys.readouterr().out
    for word in ("DICOM", "results folder", "--overwrite", "continues where it was", "Exit status: 0 all done"):
        assert word in " ".join(told.split())
