"""Volumes normalised one by one: the statistics, and that a file, the store, the model and the graph agree on them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK

from sdseg.artifacts.manifests import GraphManifest, ModelManifest, PreparedManifest
from sdseg.config.dataset import Dataset
from sdseg.config.export import Export
from sdseg.config.normalisation import MinMax, Percentiles, PerVolume, ZScore
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import read_json
from sdseg.core.settings import parse
from sdseg.data.normalise import normalised, scale_of
from sdseg.data.prepare import prepare
from sdseg.data.store import SliceStore
from sdseg.export.onnx import export
from sdseg.inference.find_inputs import find_inputs
from sdseg.inference.load_input import open_array, open_file
from sdseg.inference.predict import predict
from tests.helpers.mr_volumes import SCANNERS, SIDE, mr_volume, write_mr
from tests.helpers.raw_files import LPS, save, write_series
from tests.helpers.tiny import write_model

OWN = {"layout": "nnunet", "modality": "mr"}
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"  # SOP class


def settings(**own: Any) -> Dataset:
    return parse(Dataset, {"source": "own", "size": SIDE, "own": {**OWN, **own}}, where="my.yaml")


def prepare_mr(folder: Path, output: Path, **own: Any) -> PreparedManifest:
    given: dict[str, Any] = {"raw": folder / "raw", "split": folder / "split.csv", "output": output}
    return prepare(name="heads", settings=settings(**own), **given)


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw files, store, an untrained model and its graph."""
    folder = tmp_path_factory.mktemp("heads ä")
    write_mr(folder)
    manifest = prepare_mr(folder, folder / "prepared")
    write_model(folder / "model", manifest.image, manifest.structures)
    export(folder / "model", folder / "prepared", folder / "export", Export())
    return folder


def rank(values: AnyArray, percent: float) -> float:
    """A percentile by its definition: between the two values in order that it falls between."""
    ordered = sorted(float(value) for value in values.ravel())
    place = percent / 100 * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def itk_moments(voxels: AnyArray, *, nonzero: bool) -> tuple[float, float]:
    """Mean and standard deviation by SimpleITK, of the whole volume or of what its mask leaves."""
    image = SimpleITK.GetImageFromArray(voxels.astype(np.float64))
    statistics = SimpleITK.LabelStatisticsImageFilter()
    statistics.Execute(image, SimpleITK.NotEqual(image, 0) if nonzero else SimpleITK.Cast(image * 0 + 1, 1))
    count = statistics.GetCount(1)
    return statistics.GetMean(1), statistics.GetSigma(1) * ((count - 1) / count) ** 0.5  # ITK's is that of a sample


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32"])
@pytest.mark.parametrize("nonzero", [False, True])
def test_statistics_are_those_of_the_whole_volume(dtype: str, nonzero: bool) -> None:
    voxels = (mr_volume(1, 1.0)[0] // 3).astype(dtype)
    counted = voxels[voxels != 0] if nonzero else voxels
    low, high = rank(counted, 0.5), rank(counted, 99.5)
    mean, deviation = itk_moments(voxels, nonzero=nonzero)
    smallest, largest = float(voxels.min()), float(voxels.max())
    expected: list[tuple[PerVolume, float, float]] = [
        (Percentiles(nonzero=nonzero), low, high - low),
        (ZScore(method="z-score", nonzero=nonzero), mean, deviation),
        (MinMax(method="min-max"), smallest, largest - smallest),
    ]
    for how, offset, spread in expected:
        scale = scale_of(voxels, how)
        assert (scale.offset, scale.scale) == pytest.approx((offset, spread), rel=1e-6)
        assert scale_of(voxels[::-1].transpose(2, 1, 0), how) == scale  # whichever way the file lies
        values = np.clip((voxels.astype(np.float64) - offset) / spread, *how.window)
        np.testing.assert_allclose(normalised(voxels, scale, how.window), values, atol=1e-5)


def test_another_scanner_gives_the_same_values() -> None:
    voxels = mr_volume(0, 1.0)[0].astype(np.float64)
    for how in (Percentiles(), ZScore(method="z-score", nonzero=True), MinMax(method="min-max")):
        one, other = (normalised(each, scale_of(each, how), how.window) for each in (voxels, voxels * 4.25))
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_method_and_parameters_stand_in_store_model_and_graph(heads: Path) -> None:
    expected = {"method": "percentiles", "low": 0.5, "high": 99.5, "nonzero": False}
    store = read_json(heads / "prepared" / "manifest.json", PreparedManifest).image
    model = read_json(heads / "model" / "config.json", ModelManifest).image
    graph = read_json(heads / "export" / "io.json", GraphManifest)
    assert store == model == graph.image
    assert json.loads((heads / "export" / "io.json").read_text())["image"]["normalisation"] == expected
    assert (store.modality, store.window, store.dtype) == ("mr", (0.0, 1.0), "float16")
    assert store.intensities is not None
    trained = [mr_volume(number, scale)[0] for number, scale in enumerate(SCANNERS.values())][:2]
    assert store.intensities.high == max(volume.max() for volume in trained)  # raw values, what scanners gave
    assert graph.inputs[0].range == (0.0, 1.0)
    assert json.loads((heads / "export" / "parity.json").read_text())["passed"] is True


def test_a_file_an_array_and_a_series_are_fed_as_the_store_has_them(heads: Path, tmp_path: Path) -> None:
    store = SliceStore.open(heads / "prepared", verify=True)
    manifest = store.manifest
    rows = store.images[store.cases_of("test")[0].rows]
    voxels = mr_volume(3, SCANNERS["d"])[0]
    as_series = write_series(tmp_path / "t1", voxels, t0008_0060="MR", t0028_1052="0")
    path = heads / "raw" / "imagesTr" / "d_0000.nii.gz"
    for place in (path, as_series):
        (file,) = find_inputs([place], tmp_path / "out", modality="mr").inputs
        native = open_file(file, manifest.image, manifest.structures)
        np.testing.assert_array_equal(native.images, rows)
        assert (native.images.dtype, native.notes) == (np.float16, [])
    doubled = open_array(voxels * 2.5, LPS, manifest.image, manifest.structures)
    np.testing.assert_allclose(doubled.images, rows, atol=0.001)
    assert doubled.notes == []
    (note,) = open_array(voxels[:, :, 1], LPS, manifest.image, manifest.structures).notes
    assert "a single slice: normalised by its own values (percentiles)" in note


def test_an_mr_series_becomes_a_segmentation_object(heads: Path, tmp_path: Path) -> None:
    voxels = mr_volume(3, SCANNERS["d"])[0]
    study = {"t0020_000d": "1.2.826.0.1.3680043.2.1125.9", "t0020_0052": "1.2.826.0.1.3680043.2.1125.8"}
    source = write_series(tmp_path / "in" / "t1", voxels, t0008_0060="MR", t0008_0016=MR_IMAGE, **study)
    masks = []
    slices = voxels.transpose(2, 1, 0).astype(np.float64)  # as the series has them: [slice,row,column]
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in sorted(source.iterdir())]
    for model in ("model", "export/model.onnx"):
        output = tmp_path / model.replace("/", "-")
        assert predict(heads / model, [tmp_path / "in"], output) == 0
        (written,) = output.rglob("*.dcm")
        segmentation = highdicom.seg.segread(written)
        assert {str(uid) for _, _, uid in segmentation.get_source_image_uids()} == {*uids}
        masks.append(pydicom.dcmread(written).pixel_array)
        (record,) = json.loads((output / "predict.json").read_text())["inputs"]
        pixels = segmentation.get_pixels_by_source_instance(uids, segment_numbers=[1])[..., 0] > 0
        mean = slices[pixels].mean()  # of what the scanner measured, not of what the model was fed
        assert (record["mean_intensity"]["lesion"], record["intensity_unit"]) == (
            pytest.approx(mean, abs=0.001),
            "file's own",
        )
    np.testing.assert_array_equal(*masks)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"modality": "rgb", "normalisation": {"method": "z-score"}}, "'modality: rgb' are images"),
        ({"windows": {"all": [0, 900]}}, "'windows' do not belong to .*percentiles.*the default of 'modality: mr'"),
        ({"normalisation": {"method": "window"}}, "'normalisation: {method: window}' needs 'windows'"),
        ({"normalisation": {"method": "percentiles", "low": 99, "high": 1}}, "'low' must be below 'high'"),
        ({"normalisation": {"method": "min-max", "nonzero": True}}, "nonzero"),
        ({"normalisation": {"method": "histogram"}}, "percentiles"),
        ({"modality": "mri"}, "mr"),
    ],
)
def test_settings_that_do_not_fit_are_refused(own: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings(**own)


def test_volumes_without_contrast_and_contradictions_are_problems(tmp_path: Path) -> None:
    raw = write_mr(tmp_path)
    save(raw / "imagesTr" / "b_0000.nii.gz", np.full((SIDE, SIDE, 3), 7, np.int16))
    with pytest.raises(ListedError, match=r"b_0000\.nii\.gz: an empty volume: percentiles 0\.5 and 99\.5.*both 7"):
        prepare_mr(tmp_path, tmp_path / "prepared")
    assert not (tmp_path / "prepared").exists()
    description = json.loads((raw / "dataset.json").read_text())
    (raw / "dataset.json").write_text(json.dumps(description | {"channel_names": {"0": "CT"}}))
    with pytest.raises(UserError, match="its channel is 'CT', and the configuration says 'modality: mr'"):
        prepare_mr(tmp_path, tmp_path / "prepared")
    series, label = mr_volume(0, 1.0)
    write_series(tmp_path / "raw" / "s" / "a", series)
    save(tmp_path / "raw" / "m" / "a.nii.gz", label)
    folders = {"layout": "folders", "images": "s", "masks": "m", "labels": {1: "lesion"}}
    expected = "modality 'CT'; a dataset of 'modality: mr' is expected to have MR series"
    with pytest.raises(ListedError, match=f"(?s){expected}.*"):
        prepare_mr(tmp_path, tmp_path / "prepared", **folders)


def test_scales_that_one_window_cannot_serve_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_mr(tmp_path)
    fixed = {"normalisation": {"method": "window"}, "windows": {"all": [0, 900]}}
    with caplog.at_level(logging.WARNING):
        manifest = prepare_mr(tmp_path, tmp_path / "fixed", **fixed)
    assert (manifest.image.normalisation, manifest.image.dtype) == (None, "int16")
    assert "hold values of another scale" in caplog.text or "fold between cases: most values of 'c'" in caplog.text
    assert "'normalisation: {method: percentiles}' in the place of 'windows'" in caplog.text
    assert "Hounsfield" not in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        prepare_mr(tmp_path, tmp_path / "each")
    assert "scale" not in caplog.text
    assert "fold" not in caplog.text
