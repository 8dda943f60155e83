"""`sdseg.load(path).predict(image)`: the same as the command, from arrays as from files, by several threads."""

from __future__ import annotations

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import PIL.Image
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

import sdseg
from sdseg.core.errors import ListedError, UserError
from sdseg.inference.load_input import open_array
from sdseg.inference.predict import PredictOptions, predict
from sdseg.io.images import read_image
from sdseg.io.volumes import read_volume
from tests.helpers.raw_files import encode, save
from tests.helpers.tiny import CT, DISC_CUP, POLYP, RGB, picture, write_graph, write_model


def write_volume(path: Path) -> Path:
    """A CT volume with a dense cylinder off the centre, axes LPS."""
    x, y, z = np.mgrid[:30, :26, :5]
    inside = (np.hypot((x - 18) / 8, (y - 10) / 6) < 1) & (z > 0)
    return save(path, np.where(inside, 240, -120).astype(np.int16))


def test_an_image_as_the_command_has_it(bright_rgb: Path, tmp_path: Path) -> None:
    path = encode(tmp_path / "a é.png", picture(RGB, 1, size=50)[0][:, :40])
    model = sdseg.load(bright_rgb)
    assert (model.structures, model.image, model.backend) == (("polyp",), RGB, "onnxruntime-cpu")
    found = model.predict(path)
    assert (found.mask.shape, found.masks.shape, found.probability.shape) == ((50, 40), (1, 50, 40), (1, 50, 40))
    assert (found.mask.dtype, found.masks.dtype, found.probability.dtype) == (np.uint8, np.bool_, np.float32)
    np.testing.assert_array_equal(found.masks[0], found.probability[0] > 0.5)
    assert predict(bright_rgb, [path], tmp_path / "out") == 0
    written = cv2.imdecode(np.fromfile(tmp_path / "out" / "a é_mask.png", np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(found.mask * 255, written)
    np.testing.assert_array_equal(model.predict(read_image(path)).probability, found.probability)
    np.testing.assert_array_equal(model.predict(str(path)).probability, found.probability)


def test_what_is_saved_is_what_the_command_writes(bright_rgb: Path, bright_ct: Path, tmp_path: Path) -> None:
    picture_file = encode(tmp_path / "a.png", picture(RGB, 1, size=50)[0])
    volume_file = write_volume(tmp_path / "v.nii.gz")
    for model, source, names in (
        (bright_rgb, picture_file, ("a_mask.png",)),
        (bright_ct, volume_file, ("v_mask.nii.gz", "v_mask.mha")),
    ):
        found = sdseg.load(model).predict(source)
        assert predict(model, [source], tmp_path / "out") == 0
        for name in names:
            found.save(tmp_path / "saved é" / name)
        assert (tmp_path / "saved é" / names[0]).read_bytes() == (tmp_path / "out" / names[0]).read_bytes()
        for wrong in ("mask.jpg", "mask.mhd", "mask"):
            with pytest.raises(UserError, match=r"(?s)no suffix for this mask.*choose one of"):
                found.save(tmp_path / wrong)
    np.testing.assert_array_equal(
        read_volume(tmp_path / "saved é" / "v_mask.mha")[0] > 0, read_volume(volume_file)[0] > 0
    )


def test_grey_and_deep_arrays(bright_rgb: Path) -> None:
    model, pixels = sdseg.load(bright_rgb), picture(RGB, 2)[0]
    grey = pixels[..., 0]
    expected = model.predict(np.repeat(grey[..., None], 3, axis=2)).probability
    alpha = np.dstack([grey, grey, grey, np.zeros_like(grey)])
    for array in (grey, alpha, grey.astype(np.uint16) * 257):
        np.testing.assert_array_equal(model.predict(array).probability, expected)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), r"type float32; this model wants RGB \[H,W,3\]"),
        (np.zeros((8, 8, 2), np.uint8), r"an array of shape \(8, 8, 2\)"),
        (np.zeros((8, 8, 5), np.uint8), "5 channels"),
        (np.zeros((0, 8, 3), np.uint8), r"of shape \(0, 8, 3\): no values"),
        ([[1, 2]], "a list; a NumPy array or the path of a file is expected"),
        (PIL.Image.new("RGB", (8, 8)), r"(?s)a Image; a NumPy array.*np\.asarray"),
    ],
)
def test_arrays_that_are_no_image(bright_rgb: Path, array: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sdseg.load(bright_rgb).predict(array)


def test_a_volume_from_a_file_and_as_an_array(bright_ct: Path, tmp_path: Path) -> None:
    path = write_volume(tmp_path / "v.nii.gz")
    model = sdseg.load(bright_ct, batch=2)
    found, image = model.predict(path), nib.load(path)
    assert found.mask.shape == image.shape
    assert found.structures == ("disc", "cup")
    assert found.geometry is not None
    np.testing.assert_allclose(found.geometry.matrix, image.affine, atol=1e-5)
    values = np.asarray(image.dataobj)
    dense = values > 0
    assert 2 * (dense & (found.mask > 0)).sum() / (dense.sum() + (found.mask > 0).sum()) > 0.9
    np.testing.assert_array_equal(found.mask, np.where(found.masks[1], 2, found.masks[0]))
    assert predict(bright_ct, [path], tmp_path / "out", options=PredictOptions(batch=5)) == 0
    np.testing.assert_array_equal(found.mask, np.asarray(nib.load(tmp_path / "out" / "v_mask.nii.gz").dataobj))
    np.testing.assert_array_equal(model.predict(image.get_fdata(), affine=image.affine).mask, found.mask)
    # One slice as radiologists see it, from the canonical volume.
    voxels, geometry = read_volume(path)
    one = model.predict(voxels[::-1, ::-1, 2].T)
    np.testing.assert_array_equal(one.mask, geometry.to_canonical(found.mask)[::-1, ::-1, 2].T)


@pytest.mark.parametrize(
    ("array", "affine", "message"),
    [
        (np.zeros((4, 4, 4), np.int16), None, "without an affine"),
        (
            np.zeros((4, 4), np.int16),
            np.eye(4)[:, [2, 0, 1, 3]],
            "a slice .* that is not axial: by its affine the axes run SR",
        ),
        (np.zeros((4, 4, 4, 2), np.int16), np.eye(4), "an axial slice .* row 0 is the patient's front"),
        (np.zeros((4, 4, 4), np.int16), np.zeros((4, 4)), "no invertible"),
        (np.full((4, 4), np.nan, np.float32), None, "NaN"),
        (np.full((4, 4), "a"), None, "numbers are expected"),
    ],
)
def test_arrays_that_are_no_scan(bright_ct: Path, array: np.ndarray, affine: np.ndarray | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sdseg.load(bright_ct).predict(array, affine=affine)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PRI"])
def test_a_slice_with_its_affine_lies_as_its_volume(codes: str, bright_ct: Path, tmp_path: Path) -> None:
    model, image = sdseg.load(bright_ct), nib.load(write_volume(tmp_path / "v.nii.gz"))
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(codes)))
    turned = image.as_reoriented(turn)
    whole = model.predict(turned.get_fdata(), affine=turned.affine)
    single = turned.slicer[:, :, 2:3]
    found = model.predict(single.get_fdata()[:, :, 0], affine=single.affine)
    np.testing.assert_array_equal(found.mask, whole.mask[:, :, 2])
    np.testing.assert_array_equal(found.masks, whole.masks[..., 2])
    np.testing.assert_array_equal(found.probability, whole.probability[..., 2])
    assert found.mask.any()
    assert found.notes == ()
    found.save(tmp_path / "one.nii.gz")
    written = nib.load(tmp_path / "one.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj)[..., 0], found.mask)
    np.testing.assert_allclose(written.affine, single.affine, atol=1e-5)


def test_a_slice_without_an_affine_is_said_to_be_taken_upright(bright_ct: Path) -> None:
    (note,) = sdseg.load(bright_ct).predict(np.zeros((8, 9), np.int16)).notes
    assert "row 0 was taken for the patient's front and column 0 for the right side" in note


def test_an_affine_that_would_be_ignored_is_refused(bright_rgb: Path, bright_ct: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="an affine beside a file, which has its own"):
        sdseg.load(bright_ct).predict(write_volume(tmp_path / "v.nii.gz"), affine=np.eye(4))
    with pytest.raises(UserError, match="an affine, but this model was made for images"):
        sdseg.load(bright_rgb).predict(np.zeros((8, 8, 3), np.uint8), affine=np.eye(4))


def test_a_model_that_saw_phantoms_alone_says_so(bright_rgb: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        sdseg.load(bright_rgb)
    assert "trained on phantoms, drawn images: its masks of real ones mean nothing" in caplog.text


def test_objects_say_what_they_are(bright_ct: Path, tmp_path: Path) -> None:
    model = sdseg.load(bright_ct)
    assert repr(model) == (
        f"<Predictor {bright_ct}: disc, cup in ct images, bright trained on phantom tiny, onnxruntime-cpu>"
    )
    found = model.predict(write_volume(tmp_path / "v.nii.gz"))
    disc, cup = (int(mask.sum()) for mask in found.masks)
    assert repr(found) == f"<Prediction 30 × 26 × 5: disc {disc} voxels, cup {cup} voxels>"
    assert repr(model.predict(np.zeros((8, 9), np.int16))) == "<Prediction 8 × 9: disc 0 pixels, cup 0 pixels, 1 note>"


def test_paths_that_lead_to_none_or_many(bright_rgb: Path, tmp_path: Path) -> None:
    model = sdseg.load(bright_rgb)
    with pytest.raises(UserError, match="the file is missing"):
        model.predict(tmp_path / "a.png")
    for name in ("a.png", "b.png"):
        encode(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ListedError, match="2 inputs where one is expected"):
        model.predict(tmp_path)
    with pytest.raises(UserError, match="a batch of 0"):
        sdseg.load(bright_rgb, batch=0)


@pytest.mark.parametrize("kind", ["folder", "graph"])
def test_threads_share_a_model(kind: str, bright_rgb: Path, tmp_path: Path) -> None:
    model = sdseg.load(bright_rgb if kind == "graph" else write_model(tmp_path / "m"))
    pictures = [picture(RGB, seed, size=40 + seed)[0] for seed in range(24)]
    alone = [model.predict(pixels).probability for pixels in pictures]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(model.predict, pictures * 3))
    for one, expected in zip(together, alone * 3, strict=True):
        np.testing.assert_array_equal(one.probability, expected)


def test_structures_of_one_image_may_overlap(tmp_path: Path) -> None:
    found = sdseg.load(write_graph(tmp_path / "m.onnx", RGB, DISC_CUP)).predict(picture(RGB, 0, labels=2)[0])
    assert (found.masks[0] & found.masks[1]).any()
    assert set(np.unique(found.mask)) == {0, 1, 2}


def test_importing_the_package_is_cheap() -> None:
    code = "import sdseg, sys; sdseg.load; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert not {"torch", "numpy", "pydantic", "onnxruntime", "cv2"} & set(done.stdout.split())


def test_a_volume_of_another_spacing_than_in_training_is_noted() -> None:
    contract, volume = CT.model_copy(update={"spacing": (5.0, 1.5, 1.5)}), np.zeros((64, 64, 3), np.int16)
    for depth, side, noted in ((0.7, 0.75, True), (5.0, 0.75, False), (4.0, 0.3, True), (9.0, 0.75, False)):
        found = open_array(volume, np.diag([-side, -side, depth, 1.0]), contract, POLYP)  # squeezed into 32 × 32
        assert any("those of the training volumes of 5 × 1.5 × 1.5 mm" in note for note in found.notes) == noted
    plain = open_array(volume, np.diag([-0.75, -0.75, 0.7, 1.0]), CT, POLYP)
    assert not any("training volumes" in note for note in plain.notes)
