"""`predict --hypotheses`: a mask for each, as drawn from the model by hand; one message where there are none."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from sdseg.backends.open_model import open_model
from sdseg.core.errors import ListedError, UserError
from sdseg.inference.choose_model import choose_model
from sdseg.inference.predict import PredictOptions, predict
from tests.helpers.models import GAUSSIAN, write_latent_model
from tests.helpers.own_files import photos, read, report, scan
from tests.helpers.raw_files import write_series
from tests.helpers.tiny import CT, DISC_CUP, RGB, picture, write_graph, write_model

SAMPLES = 3
WANTED = PredictOptions(hypotheses=True)


def test_each_hypothesis_has_a_mask(tmp_path: Path) -> None:
    model = write_latent_model(tmp_path / "model", **GAUSSIAN, inference={"samples": SAMPLES})
    photos(tmp_path / "photos", 2, size=RGB.size)
    assert predict(model, [tmp_path / "photos"], tmp_path / "out", "cpu", WANTED) == 0
    served = open_model(model)
    images = np.stack([picture(RGB, seed)[0][..., ::-1] for seed in range(2)])  # BGR in the files
    expected = served.backend.hypotheses(images)[:, :, 0] > served.rule.threshold  # type: ignore[attr-defined]
    masks, kinds = [], [f"hypothesis{one + 1}" for one in range(SAMPLES)]
    for number, entry in enumerate(report(tmp_path / "out")["inputs"]):
        assert list(entry["outputs"]) == ["mask", *kinds, "confidence", "uncertainty"]
        assert entry["outputs"]["hypothesis2"] == f"{number:03d}_hypothesis2.png"
        own = [read(tmp_path / "out" / entry["outputs"][kind]) > 0 for kind in kinds]
        assert np.mean(np.stack(own) == expected[number]) > 0.995  # a pixel may sit on the threshold
        assert [one["pixels"]["polyp"] for one in entry["hypotheses"]] == [int(mask.sum()) for mask in own]
        counts = [int(mask.sum()) for mask in own]
        low, middle, high = sorted(counts)
        assert entry["over_hypotheses"]["polyp"] == {
            "unit": "pixels",
            "mean": pytest.approx(sum(counts) / 3, abs=0.06),
            # Of three values 5 % lie a tenth of the way from the first to the second.
            "low": pytest.approx(low + 0.1 * (middle - low), abs=0.06),
            "high": pytest.approx(high - 0.1 * (high - middle), abs=0.06),
        }
        probability = served.backend.hypotheses(images)[number, :, 0].mean(axis=0)  # type: ignore[attr-defined]
        confidence = read(tmp_path / "out" / entry["outputs"]["confidence"]) / 65535
        np.testing.assert_allclose(confidence, np.maximum(probability, 1 - probability), atol=1e-4)
        picture_shown = read(tmp_path / "out" / entry["outputs"]["uncertainty"])
        assert picture_shown.shape[1] > picture_shown.shape[0] >= 512  # two side by side
        masks += own
    assert any(not np.array_equal(masks[0], other) for other in masks[1:SAMPLES])

    # Fewer, and as many again, among the images: what is left of the first run is no input, and nobody else's file.
    for samples in (2, SAMPLES):
        images_and_results = [tmp_path / "photos", *sorted((tmp_path / "out").glob("*.png"))]
        again = replace(WANTED, samples=samples)
        assert predict(model, images_and_results, tmp_path / "out", "cpu", again) == 0
        assert len(report(tmp_path / "out")["inputs"]) == 2
        assert len(list((tmp_path / "out").glob("*_hypothesis*.png"))) == 2 * samples


def test_those_of_a_series_are_objects_of_their_own_and_notes_are_said_once(tmp_path: Path) -> None:
    joint = {**GAUSSIAN, "network": {"classes": "joint"}, "inference": {"samples": SAMPLES, "threshold": 0.3}}
    model = write_latent_model(tmp_path / "model", CT, DISC_CUP, **joint)
    voxels = np.random.default_rng(1).integers(-900, 900, (9, 8, 2)).astype(np.int16)
    for path in write_series(tmp_path / "series", voxels, t0020_000d="1.2.826.0.1.3680043.2.1125.9").iterdir():
        header = pydicom.dcmread(path)
        header.FrameOfReferenceUID = ""  # as anonymisation leaves it: a note
        header.save_as(path)
    assert predict(model, [tmp_path / "series"], tmp_path / "out", "cpu", WANTED) == 0
    (entry,) = report(tmp_path / "out")["inputs"]
    assert sum("FrameOfReferenceUID" in note for note in entry["notes"]) == 1
    assert len(entry["notes"]) == len(set(entry["notes"]))
    objects = [name for name in entry["outputs"].values() if name.endswith(".dcm")]
    headers = [pydicom.dcmread(tmp_path / "out" / name) for name in objects]
    assert len({header.SOPInstanceUID for header in headers}) == SAMPLES + 1
    assert [header.InstanceNumber for header in headers] == [1, 2, 3, 4]
    for header, pixels in zip(headers, [entry, *entry["hypotheses"]], strict=True):
        assert [segment.SegmentLabel for segment in header.SegmentSequence] == ["disc", "cup"]
        frames, counted = header.pixel_array.reshape(-1, header.Rows, header.Columns), [0, 0]
        for frame, group in zip(frames, header.PerFrameFunctionalGroupsSequence, strict=True):
            counted[group.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1] += int((frame > 0).sum())
        assert counted == [pixels["pixels"]["disc"], pixels["pixels"]["cup"]]
        assert min(counted) > 0, counted


def test_those_of_a_volume_lie_along_a_fourth_axis_and_structures_in_one_pass_have_them(tmp_path: Path) -> None:
    joint = {**GAUSSIAN, "network": {"classes": "joint"}, "inference": {"samples": SAMPLES}}
    model = write_latent_model(tmp_path / "model", CT, DISC_CUP, **joint)
    affine = np.diag([-2.0, 1.5, 5.0, 1.0])  # 15 mm³ a voxel
    (tmp_path / "scans").mkdir()
    nib.save(nib.Nifti1Image(scan(3), affine), tmp_path / "scans" / "ct.nii.gz")
    run = partial(predict, model, [tmp_path / "scans"], tmp_path / "out", "cpu")
    assert run(WANTED) == 0
    (entry,) = report(tmp_path / "out")["inputs"]
    assert list(entry["outputs"]) == ["mask", "hypotheses", "confidence", "uncertainty"]
    several = nib.load(tmp_path / "out" / entry["outputs"]["hypotheses"])
    mask, confidence = (nib.load(tmp_path / "out" / entry["outputs"][kind]) for kind in ("mask", "confidence"))
    assert several.shape == (*mask.shape, SAMPLES)
    for image in (several, confidence):
        np.testing.assert_array_equal(image.affine, affine)
    cup = (several.get_fdata() == 2).sum(axis=(0, 1, 2))  # the inner structure, which the label map shows whole
    assert [one["pixels"]["cup"] for one in entry["hypotheses"]] == cup.tolist()
    assert cup.sum() > 0
    assert entry["over_hypotheses"]["cup"]["unit"] == "ml"
    assert entry["over_hypotheses"]["cup"]["mean"] == pytest.approx(cup.mean() * 0.015, abs=1e-3)
    assert 0 <= confidence.get_fdata().min() < confidence.get_fdata().max() <= 1

    # More of them when asked for, and then computed anew.
    assert run(replace(WANTED, samples=4)) == 0
    (entry,) = report(tmp_path / "out")["inputs"]
    assert (entry["kept"], entry["samples"], len(entry["hypotheses"])) == (False, 4, 4)
    assert run(replace(WANTED, samples=4)) == 0
    assert report(tmp_path / "out")["n_kept"] == 1


def test_where_there_are_none_nothing_is_written(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 1)
    with pytest.raises(UserError, match="'unet' has one answer to an image, and no hypotheses"):
        predict(write_model(tmp_path / "unet"), [tmp_path / "photos"], tmp_path / "out", "cpu", WANTED)
    graph = write_graph(tmp_path / "noisy.onnx", noise_shape=(2, 4, 4))
    with pytest.raises(UserError, match="the graph gives the mean of its hypotheses alone"):
        predict(graph, [tmp_path / "photos"], tmp_path / "out", "cpu", WANTED)
    results = tmp_path / "results"
    shutil.copytree(tmp_path / "unet", results / "model")
    (results / "export").mkdir()
    shutil.copy(graph, results / "export" / "model.onnx")
    passed_over = choose_model(results, "cpu", hypotheses=True)
    assert passed_over.served.path == results / "model"
    assert "model.onnx on cpu: the graph gives the mean of its hypotheses alone" in passed_over.reason
    shutil.rmtree(results / "model")
    with pytest.raises(ListedError, match=r"(?s)can be opened for its hypotheses:.*mean of its hypotheses alone"):
        predict(results, [tmp_path / "photos"], tmp_path / "out", "cpu", WANTED)
    with pytest.raises(UserError, match="has its number of steps and samples built in"):
        predict(graph, [tmp_path / "photos"], tmp_path / "out", "cpu", replace(WANTED, samples=4))
    with pytest.raises(UserError, match=r"(?s)does not allow 'samples: 4':.*one pass and one answer.*leave the number"):
        predict(tmp_path / "unet", [tmp_path / "photos"], tmp_path / "out", "cpu", replace(WANTED, samples=4))
    with pytest.raises(UserError, match="4 samples, and no hypotheses"):
        predict(graph, [tmp_path / "photos"], tmp_path / "out", "cpu", PredictOptions(samples=4))
    assert not list((tmp_path / "out").glob("*_mask*"))
