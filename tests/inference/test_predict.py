"""Masks of one's own files: size, geometry, values, reports, and one bad file among good ones."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from nibabel.orientations import axcodes2ornt, inv_ornt_aff

from sdseg.artifacts.image_contract import Structure
from sdseg.config.dataset import Dataset
from sdseg.core.errors import UserError
from sdseg.data.prepare import prepare
from sdseg.data.store import SliceStore
from sdseg.data.transforms import resize_labels
from sdseg.evaluation.evaluate import evaluate
from sdseg.inference.predict import PredictOptions, predict
from tests.helpers.raw_files import encode, write_split
from tests.helpers.tiny import CT, RGB, picture, write_graph, write_model


def read(path: Path) -> np.ndarray:
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return np.asarray(pixels)


def report(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "predict.json").read_text("utf-8")))


def write_photo(path: Path, seed: int = 0, height: int = 60, width: int = 44) -> np.ndarray:
    """An image file with a bright ellipse; returns where the ellipse is, [H,W]."""
    pixels, label = picture(RGB, seed, size=128)
    encode(path, cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))
    return np.asarray(resize_labels(label[None], (height, width))[0] > 0)


def write_scan(path: Path, codes: str = "LPS", shape: tuple[int, int, int] = (40, 52, 5)) -> np.ndarray:
    """A NIfTI volume in any orientation, with a bright cylinder; returns where it is, [i,j,k]."""
    x, y, _ = np.mgrid[: shape[0], : shape[1], : shape[2]]
    inside = np.hypot((x - 18) / 10, (y - 30) / 13) < 1  # off centre, so that a flip is noticed
    inside[:, :, 0] = False
    values = np.where(inside, 200, -120).astype(np.int16)
    # Turn the RAS array into the wanted axes; the affine follows.
    orientation = axcodes2ornt(tuple(codes))
    affine = np.diag([0.8, 0.7, 3.0, 1.0])
    affine[:3, 3] = (-20, 11, 40)
    from_ras = nib.orientations.ornt_transform(axcodes2ornt(("R", "A", "S")), orientation)
    native, mask = (nib.orientations.apply_orientation(array, from_ras) for array in (values, inside))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(native, affine @ inv_ornt_aff(from_ras, shape)), path)
    return np.asarray(mask)


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def test_images_of_every_kind(bright_rgb: Path, tmp_path: Path) -> None:
    names = ["a.png", "b é.jpg", "c.tif", "d.bmp", "e.JPEG"]
    truth = {name: write_photo(tmp_path / "in" / name, seed, 60 + seed, 44) for seed, name in enumerate(names)}
    assert predict(bright_rgb, [tmp_path / "in"], tmp_path / "out put", options=PredictOptions(batch=2)) == 0
    for name, inside in truth.items():
        mask = read(tmp_path / "out put" / f"{Path(name).stem}_mask.png")
        assert mask.shape == inside.shape
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 255}
        assert overlap(mask > 0, inside) > 0.93
    found = report(tmp_path / "out put")
    assert (found["n_done"], found["n_failed"], found["empty_masks"]) == (5, 0, [])
    assert found["values"] == {"1": "polyp"}
    assert found["label_ids"] == {"1": [1]}
    assert found["backend"] == "onnxruntime-cpu"
    first = found["inputs"][0]
    assert first["input"] == str(tmp_path / "in" / "a.png")
    assert first["outputs"] == {"mask": "a_mask.png"}
    assert first["shape"] == [60, 44]
    assert first["pixels"]["polyp"] == np.count_nonzero(read(tmp_path / "out put" / "a_mask.png"))
    assert not list((tmp_path / "out put").glob(".*"))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAR", "PIL"])
def test_volumes_come_back_on_their_own_grid(bright_ct: Path, tmp_path: Path, codes: str) -> None:
    inside = write_scan(tmp_path / "scan é.nii.gz", codes)
    assert (
        predict(
            bright_ct, [tmp_path / "scan é.nii.gz"], tmp_path / "out", options=PredictOptions(batch=2, probability=True)
        )
        == 0
    )
    image, mask = (nib.load(tmp_path / name) for name in ("scan é.nii.gz", "out/scan é_mask.nii.gz"))
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)
    assert nib.aff2axcodes(mask.affine) == tuple(codes)
    assert mask.get_data_dtype() == np.uint8
    values = np.asarray(mask.dataobj)
    assert overlap(values > 0, inside) > 0.93
    assert set(np.unique(values)) <= {0, 1, 2}

    # An independent reader puts the voxels at the same points of the patient.
    theirs, ours = (SimpleITK.ReadImage(str(tmp_path / name)) for name in ("scan é.nii.gz", "out/scan é_mask.nii.gz"))
    for point in ((0, 0, 0), (3, 2, 1)):
        np.testing.assert_allclose(
            ours.TransformIndexToPhysicalPoint(point), theirs.TransformIndexToPhysicalPoint(point), atol=1e-4
        )


def test_several_structures(bright_ct: Path, tmp_path: Path) -> None:
    write_scan(tmp_path / "scan.nii", "RAS")
    assert (
        predict(
            bright_ct, [tmp_path / "scan.nii"], tmp_path / "out", options=PredictOptions(probability=True, overlay=True)
        )
        == 0
    )
    outputs = report(tmp_path / "out")["inputs"][0]["outputs"]
    assert outputs == {
        "mask": "scan_mask.nii.gz",
        "probability_disc": "scan_probability_disc.nii.gz",
        "probability_cup": "scan_probability_cup.nii.gz",
        "overlay": "scan_overlay.png",
    }
    mask, disc, cup = (np.asarray(nib.load(tmp_path / "out" / outputs[kind]).dataobj) for kind in list(outputs)[:3])
    assert disc.dtype == np.float32
    # The cup lies over the disc; a voxel of the cup alone would count as cup as well.
    np.testing.assert_array_equal(mask, np.where(cup > 0.5, 2, np.where(disc > 0.5, 1, 0)))
    assert {1, 2} <= set(np.unique(mask))
    assert read(tmp_path / "out" / "scan_overlay.png").shape[2] == 3


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (("肝", "脾"), ("scan_probability_1.nii.gz", "scan_probability_2.nii.gz")),
        (("T+", "T-"), ("scan_probability_1-t.nii.gz", "scan_probability_2-t.nii.gz")),
    ],
)
def test_every_structure_has_a_file_of_its_own(names: tuple[str, str], files: tuple[str, str], tmp_path: Path) -> None:
    structures = tuple(Structure(name=name, values=(number,)) for number, name in enumerate(names, start=1))
    model = write_graph(tmp_path / "model.onnx", CT, structures)
    write_scan(tmp_path / "scan.nii", "RAS")
    wanted = PredictOptions(probability=True, overlay=True)
    assert predict(model, [tmp_path / "scan.nii"], tmp_path / "out", options=wanted) == 0
    found = report(tmp_path / "out")
    outputs = found["inputs"][0]["outputs"]
    of_structures = {found["probabilities"][kind]: name for kind, name in outputs.items() if kind.startswith("prob")}
    assert of_structures == dict(zip(names, files, strict=True))
    first, second = (np.asarray(nib.load(tmp_path / "out" / name).dataobj) for name in files)
    assert (first >= second).all()
    assert first.max() > second.max()  # the second structure wants brighter voxels


def test_probability_and_overlay_of_an_image(bright_rgb: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png")
    assert (
        predict(
            bright_rgb, [tmp_path / "a.png"], tmp_path / "out", options=PredictOptions(probability=True, overlay=True)
        )
        == 0
    )
    probability, mask = read(tmp_path / "out" / "a_probability.png"), read(tmp_path / "out" / "a_mask.png")
    assert probability.dtype == np.uint16
    np.testing.assert_array_equal(probability > 65535 * 0.5, mask > 0)
    drawn = read(tmp_path / "out" / "a_overlay.png")
    assert drawn.shape[:2] == (60 * 12 + 30, 44 * 12)  # enlarged to see something, and a legend


def test_folder_of_weights_and_graph_are_served_alike(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png")
    assert predict(write_model(tmp_path / "m"), [tmp_path / "a.png"], tmp_path / "out") == 0
    assert report(tmp_path / "out")["backend"] == "torch-cpu"
    assert read(tmp_path / "out" / "a_mask.png").shape == (60, 44)


def test_a_bad_file_does_not_stop_the_others(
    bright_rgb: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "in"
    write_photo(folder / "good.png")
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:200])
    (folder / "text.png").write_text("no picture")
    write_scan(folder / "scan.nii.gz")
    encode(folder / "dark.png", np.zeros((20, 30, 3), np.uint8))
    with caplog.at_level(logging.INFO, logger="sdseg"):
        assert (
            predict(bright_rgb, [folder, tmp_path / "missing.png"], tmp_path / "out", options=PredictOptions(batch=3))
            == 1
        )
    found = report(tmp_path / "out")
    assert [Path(done["input"]).name for done in found["inputs"]] == ["dark.png", "good.png"]
    assert {Path(failure["input"]).name for failure in found["failures"]} == {
        *("cut.png", "text.png", "scan.nii.gz", "missing.png"),
    }
    assert [Path(name).name for name in found["empty_masks"]] == ["dark.png"]
    assert "dark.png: the mask is empty" in caplog.text
    assert "cut.png: not a readable image" in caplog.text
    assert "a volume, but this model was made for images (.png, .jpg" in caplog.text
    assert "2 of 6 inputs segmented" in caplog.text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("dark_mask.png", "good_mask.png", "predict.json", "statistics.csv"),
    ]


def test_an_image_for_a_ct_model(bright_ct: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    assert predict(bright_ct, [tmp_path / "a.jpg"], tmp_path / "out") == 1
    problem = report(tmp_path / "out")["failures"][0]["problem"]
    assert (
        problem
        == "an image, but this model was made for CT volumes (.nii, .nii.gz, .mha, .mhd, .nrrd, .nhdr, DICOM series)"
    )


def test_bad_volumes(bright_ct: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_scan(folder / "good.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), np.eye(4)), folder / "4d.nii.gz")
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), np.nan, np.float32), np.eye(4)), folder / "nan.nii.gz")
    (folder / "cut.nii.gz").write_bytes((folder / "good.nii.gz").read_bytes()[:300])
    assert predict(bright_ct, [folder], tmp_path / "out") == 1
    found = report(tmp_path / "out")
    assert [done["outputs"]["mask"] for done in found["inputs"]] == ["good_mask.nii.gz"]
    problems = {Path(failure["input"]).name: failure["problem"] for failure in found["failures"]}
    assert "4-D" in problems["4d.nii.gz"]
    assert "NaN" in problems["nan.nii.gz"]
    assert "cannot be read" in problems["cut.nii.gz"]


def test_same_names_do_not_collide(bright_rgb: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "1" / "x.png", tmp_path / "2" / "x.png"]
    truth = [write_photo(path, seed) for seed, path in enumerate(paths)]
    assert predict(bright_rgb, paths, tmp_path / "out") == 0
    for name, inside in zip(("x_mask.png", "x-2_mask.png"), truth, strict=True):
        assert overlap(read(tmp_path / "out" / name) > 0, inside) > 0.93


def test_batches_change_nothing(bright_ct: Path, tmp_path: Path) -> None:
    write_scan(tmp_path / "scan.nii.gz")
    for batch in (1, 3, 64):
        assert (
            predict(bright_ct, [tmp_path / "scan.nii.gz"], tmp_path / str(batch), options=PredictOptions(batch=batch))
            == 0
        )
    first, *others = ((tmp_path / name / "scan_mask.nii.gz").read_bytes() for name in ("1", "3", "64"))
    assert others == [first, first]


def test_output_that_cannot_be_written(bright_rgb: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(UserError, match="cannot write"):
            predict(bright_rgb, [tmp_path / "a.png"], output)


def test_other_files_in_the_output_folder_are_left_alone(bright_rgb: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "in" / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    for _ in range(2):
        assert predict(bright_rgb, [tmp_path / "in"], tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("a_mask.png", "notes.txt", "predict.json", "statistics.csv"),
    ]


def test_agrees_with_evaluation(bright_rgb: Path, tmp_path: Path) -> None:
    raw, names = tmp_path / "raw", ("a", "b", "c", "d", "e")
    for seed, name in enumerate(names):
        inside = write_photo(raw / "Kvasir-SEG" / "images" / f"{name}.jpg", seed, 90 + seed, 70)
        encode(raw / "Kvasir-SEG" / "masks" / f"{name}.jpg", inside.astype(np.uint8) * 255)
    split = write_split(tmp_path / "split.csv", dict(zip(names, ("train", "val", "test", "test", "test"), strict=True)))
    settings = Dataset(source="kseg", origin="phantom", size=32)
    prepare(name="kseg", settings=settings, raw=raw, split=split, output=tmp_path / "s", jobs=1)
    evaluate(tmp_path / "s", bright_rgb, tmp_path / "e")
    store = SliceStore.open(tmp_path / "s")
    cases = store.cases_of("test")
    assert predict(bright_rgb, [raw / case.image for case in cases], tmp_path / "out") == 0

    summary = json.loads((tmp_path / "e" / "summary.json").read_text("utf-8"))
    native, working = [], []
    for case in cases:
        mask = read(tmp_path / "out" / f"{Path(case.image).stem}_mask.png")
        native.append(overlap(mask > 0, read(raw / case.label) > 127))
        working.append(overlap(resize_labels(mask[None], (32, 32))[0] > 0, store.masks[case.start] > 0))
    assert np.mean(working) == pytest.approx(summary["dice"]["mean"], abs=0.01)
    assert np.mean(native) == pytest.approx(summary["dice"]["mean"], abs=0.03)


def test_ct_window_of_real_volumes(bright_ct: Path, samples: Path, tmp_path: Path) -> None:
    source = sorted((samples / "btcv" / "RawData" / "Training" / "img").glob("*.nii.gz"))[0]
    assert predict(bright_ct, [source], tmp_path / "out", options=PredictOptions(overlay=True)) == 0
    image, mask = nib.load(source), nib.load(next((tmp_path / "out").glob("*_mask.nii.gz")))
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
    # Bone and vessels are bright: what was found has the density that the graph looks for.
    values = np.asarray(image.dataobj)
    found = np.asarray(mask.dataobj) > 0
    assert values[found].mean() > np.mean(CT.window)


def test_a_model_of_the_official_window_stretches_a_new_volume_as_its_test_volumes(tmp_path: Path) -> None:
    soft = np.full((40, 40, 3), -20, np.int16)  # spans a small part of the window
    soft[10:30, 10:30] = 10
    source = tmp_path / "soft.nii.gz"
    nib.save(nib.Nifti1Image(soft, np.diag([-1.0, -1, 2, 1])), source)
    official = CT.model_copy(update={"stretch": True})
    for name, image, expected in (("one window", CT, 0.0), ("official", official, 400 * 3)):
        graph = write_graph(tmp_path / f"{name}.onnx", image)
        assert predict(graph, [source], tmp_path / name) == 0
        found = np.count_nonzero(np.asarray(nib.load(tmp_path / name / "soft_mask.nii.gz").dataobj))
        assert found == pytest.approx(expected, rel=0.15)
