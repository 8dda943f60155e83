"""What a run writes for all its inputs together: statistics, names and colours of labels; and the names of nnU-Net."""

from __future__ import annotations

import csv
import json
import logging
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from sdseg.cli.commands import main
from sdseg.core.errors import UserError
from sdseg.inference.label_files import itk_snap_lines, slicer_lines
from sdseg.inference.predict import PredictOptions, predict
from sdseg.io.structure_colours import structure_colour
from tests.helpers.own_files import photos, read, report, scan
from tests.helpers.raw_files import encode, save, write_series
from tests.helpers.tiny import RGB, picture

AFFINE = np.diag([-2.0, -3.0, 5.0, 1.0])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "statistics.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def two_blocks() -> np.ndarray:
    """[i,j,k] with a dense block, and another that touches nothing of it."""
    voxels = scan()
    voxels[2:10, 16:24, 1:3] = 180
    return voxels


@pytest.fixture(scope="module")
def run(bright_ct: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run over two volumes, one of them a single slice: `in` and `out`."""
    place = tmp_path_factory.mktemp("run é")
    save(place / "in" / "blocks é.nii.gz", two_blocks(), AFFINE)
    save(place / "in" / "one.nii.gz", two_blocks()[:, :, 2:3], AFFINE)
    assert predict(bright_ct, [place / "in"], place / "out", options=PredictOptions(preview=True)) == 0
    return place


def test_statistics_are_those_of_the_files(run: Path) -> None:
    table = rows(run / "out")
    assert list(table[0]) == [
        *("input", "series", "mask", "structure", "pixels", "volume_ml", "area_mm2"),
        *("components", "mean_intensity", "intensity_unit"),
    ]
    assert [(Path(row["input"]).name, row["structure"]) for row in table] == [
        *(("blocks é.nii.gz", "disc"), ("blocks é.nii.gz", "cup"), ("one.nii.gz", "disc"), ("one.nii.gz", "cup")),
    ]
    # By the files alone, read by another program.
    for row in table[::2]:
        values, labels = (
            SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
            for path in (row["input"], run / "out" / row["mask"])
        )
        disc = labels > 0  # the cup lies in it
        assert int(row["pixels"]) == disc.sum() > 0
        assert float(row["volume_ml"]) == pytest.approx(disc.sum() * 0.03, abs=1e-3)
        assert int(row["components"]) == ndimage.label(disc, np.ones((3, 3, 3)))[1] == 2
        assert float(row["mean_intensity"]) == pytest.approx(values[disc].mean(), abs=1e-3)
        assert row["intensity_unit"] == "file's own"
        flat = len(values) == 1
        assert row["area_mm2"] == (str(round(disc.sum() * 6.0, 3)) if flat else "")


def test_labels_have_names_and_colours(run: Path) -> None:
    colours = [structure_colour(number) for number in range(64)]
    assert len(set(colours)) == 64
    table = (run / "out" / "labels.ctbl").read_text("utf-8").splitlines()
    assert table[1:] == ["# 3 values", "0 background 0 0 0 0", "1 disc 240 228 66 255", "2 cup 86 180 233 255"]
    described = (run / "out" / "labels_itksnap.txt").read_text("utf-8").splitlines()
    entry = re.compile(r'^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([0-9.]+)\s+([01])\s+([01])\s+"([^"]*)"$')
    found = [match.groups() for line in described if (match := entry.match(line))]
    assert [(one[0], one[-1]) for one in found] == [("0", "Clear Label"), ("1", "disc"), ("2", "cup")]
    assert found[2][1:4] == ("86", "180", "233")
    odd = ['left "kidney"', "肝 右"]
    assert [line.split()[1] for line in slicer_lines(odd)][3:] == ['left_"kidney"', "肝_右"]
    assert "\"left 'kidney'\"" in "".join(itk_snap_lines(odd))


def test_a_preview_shows_every_plane_or_slice(run: Path) -> None:
    drawn = read(run / "out" / "blocks é_preview.png")  # five slices: side by side
    assert drawn.shape[1] > drawn.shape[0]
    yellow = (np.abs(drawn[..., ::-1].astype(int) - structure_colour(0)) < 40).all(axis=-1)
    quarters = np.array_split(yellow, 4, axis=1)  # four slices have a mask
    assert all(quarter.sum() > 50 for quarter in quarters)


def test_planes_of_a_deep_volume_and_the_overlay_of_an_image(bright_ct: Path, bright_rgb: Path, tmp_path: Path) -> None:
    voxels = np.full((30, 40, 20), -120, np.int16)
    voxels[16:27, 4:15, 12:18] = 150
    save(tmp_path / "deep.nii.gz", voxels, np.diag([1.0, 1.0, 2.0, 1.0]))
    encode(tmp_path / "a.png", picture(RGB, 3, size=48)[0])
    wanted = PredictOptions(preview=True, overlay=True)
    assert predict(bright_ct, [tmp_path / "deep.nii.gz"], tmp_path / "out", options=wanted) == 0
    assert predict(bright_rgb, [tmp_path / "a.png"], tmp_path / "image", options=wanted) == 0
    preview, overlay = (read(tmp_path / "image" / f"a_{kind}.png") for kind in ("preview", "overlay"))
    np.testing.assert_array_equal(preview, overlay)
    drawn = read(tmp_path / "out" / "deep_preview.png")
    yellow = (np.abs(drawn[..., ::-1].astype(int) - structure_colour(0)) < 40).all(axis=-1)
    middles = []
    for panel in np.array_split(yellow[:400], 3, axis=1):
        at_rows, at_columns = np.nonzero(panel)
        middles.append((at_rows.mean() / 390, at_columns.mean() / panel.shape[1]))
    # RAS: the block is on the right (seen on the left), behind, and near the head.
    (axial, _, _), (_, coronal, sagittal) = zip(*middles, strict=True)
    assert axial > 0.6  # y 4 to 15 of 40: behind is below
    assert coronal < 0.5
    assert sagittal > 0.6
    assert middles[1][0] < 0.5 > middles[2][0]  # the head is up


def test_a_file_of_the_users_stays(run: Path, bright_ct: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "statistics.csv").write_text("mine")
    with pytest.raises(UserError, match=r"'statistics.csv' was there before any run wrote it"):
        predict(bright_ct, [run / "in"], out)
    assert [path.name for path in out.iterdir() if not path.name.startswith(".")] == ["statistics.csv"]
    (out / "statistics.csv").unlink()
    one = run / "in" / "one.nii.gz"
    assert predict(bright_ct, [one], out) == 0
    former = (out / "statistics.csv").read_bytes()
    assert predict(bright_ct, [run / "in"], out) == 0  # our own is replaced
    assert len(rows(out)) == 4
    (out / "statistics.csv").write_bytes(former)  # as a kill leaves it after predict.json was written
    assert predict(bright_ct, [one], out) == 0  # what other runs made stays in it
    assert [Path(row["input"]).name for row in rows(out)][::2] == ["one.nii.gz", "blocks é.nii.gz"]
    changed = (out / "labels.ctbl").read_text("utf-8").replace("disc", "papilla")
    (out / "labels.ctbl").write_text(changed, "utf-8")
    with pytest.raises(UserError, match=r"(?s)'labels.ctbl' was changed since a run wrote it.*--overwrite"):
        predict(bright_ct, [one], out)
    assert (out / "labels.ctbl").read_text("utf-8") == changed
    assert predict(bright_ct, [one], out, options=PredictOptions(overwrite=True)) == 0
    assert "papilla" not in (out / "labels.ctbl").read_text("utf-8")


def test_names_of_nnunet(bright_ct: Path, bright_rgb: Path, tmp_path: Path) -> None:
    save(tmp_path / "in" / "case_0000.nii.gz", two_blocks(), AFFINE)
    save(tmp_path / "in" / "sub" / "other.nii", scan(), AFFINE)
    write_series(tmp_path / "in" / "ct", scan())
    command = ["predict", "--model", str(bright_ct), "--names", "nnunet", "--output", str(tmp_path / "out")]
    for kept in (0, 3):
        assert main([*command, str(tmp_path / "in"), "--overlay"]) == 0
        found = report(tmp_path / "out")
        assert found["n_kept"] == kept
        assert {one["outputs"]["mask"] for one in found["inputs"]} == {
            *("case.nii.gz", "sub/other.nii.gz", "ct.nii.gz"),
        }
    assert (tmp_path / "out" / "case_overlay.png").exists()
    assert set(np.unique(np.asarray(nib.load(tmp_path / "out" / "ct.nii.gz").dataobj))) == {0, 1}
    # Two inputs of one name: the second is refused, in the same run and in a later one.
    save(tmp_path / "in" / "case_0001.nii.gz", scan(), AFFINE)
    assert main([*command, str(tmp_path / "in"), "--overlay"]) == 1
    (failure,) = report(tmp_path / "out")["failures"]
    assert "its result 'case.nii.gz' is that of" in failure["problem"]
    assert main([*command, str(tmp_path / "in" / "case_0001.nii.gz")]) == 1
    (failure,) = report(tmp_path / "out")["failures"]
    assert failure["problem"].endswith("case_0000.nii.gz in an earlier run")
    assert failure["remedy"] == "name another --output folder"
    # An image's mask has numbers, as label files of nnU-Net do.
    photo = next(photos(tmp_path / "photos", 1).iterdir())
    assert predict(bright_rgb, [photo], tmp_path / "images", options=PredictOptions(naming="nnunet")) == 0
    assert set(np.unique(read(tmp_path / "images" / "000.png"))) == {0, 1}
    assert not (tmp_path / "images" / "labels.ctbl").exists()


def test_the_rule_of_masks_is_the_users(
    bright_ct: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "a.nii.gz", two_blocks(), AFFINE)
    command = ["predict", "--model", str(bright_ct), "--output", str(tmp_path / "out"), str(tmp_path / "a.nii.gz")]
    assert main(command) == 0
    assert next(row["components"] for row in rows(tmp_path / "out")) == "2"
    with caplog.at_level(logging.WARNING):
        assert main([*command, "--keep-largest"]) == 0  # made again: the rule is another one
    assert "another rule than the model was scored with (largest component: True)" in caplog.text
    found = report(tmp_path / "out")
    assert (found["n_kept"], found["rule_by_user"]) == (0, {"largest_component": True})
    assert found["postprocessing"] == {"largest_component": True, "fill_holes": False}
    assert {row["components"] for row in rows(tmp_path / "out")} == {"1"}
    assert main([*command, "--exclusive"]) == 2
    assert "structures 'disc' and 'cup' share label 2, so they cannot exclude each other" in capsys.readouterr().err


def test_what_an_earlier_version_did_has_fewer_columns(
    run: Path, bright_ct: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, path = run / "in" / "one.nii.gz", tmp_path / "predict.json"
    assert predict(bright_ct, [one], tmp_path) == 0
    told = report(tmp_path)
    for key in ("components", "mean_intensity", "intensity_unit", "area_mm2"):
        del told["inputs"][0][key]
    path.write_text(json.dumps(told), "utf-8")
    assert predict(bright_ct, [one], tmp_path) == 0
    assert "statistics.csv lacks components and intensities of 1 of the inputs" in caplog.text
    first = rows(tmp_path)[0]
    assert (first["components"], first["mean_intensity"], first["area_mm2"]) == ("", "", "")
    assert float(first["volume_ml"]) > 0
