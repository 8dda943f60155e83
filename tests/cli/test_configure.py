"""`sdseg configure`: from a folder of files to a configuration that runs, with its reasons."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from shlex import quote
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from sdseg.cli.commands import main
from sdseg.cli.fit_preset import Machine, default_preset
from sdseg.core.yaml_json import read_yaml
from sdseg.datasets.check_configuration import CheckedConfig, configure_file
from sdseg.datasets.raw_cases import open_raw
from sdseg.sizing.presets import PRESETS
from tests.helpers.mr_volumes import write_mr
from tests.helpers.raw_files import encode, save, write_series
from tests.helpers.tiny import RGB, picture

ROOT = Path(__file__).resolve().parents[2]
SERIES = np.array([[-2.0, 0, 0, -10], [0, -3.0, 0, 20], [0, 0, 5.0, -30], [0, 0, 0, 1]])  # of `write_series`, RAS+


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SDSEG_CACHE", str(tmp_path / "cache"))


def polyps(folder: Path, value: int = 255, count: int = 12) -> Path:
    """Pictures of two eyes of each patient, and masks of another name."""
    for number in range(count):
        name = f"p{number // 2}_{('left', 'right')[number % 2]}"
        encode(folder / "photos" / f"{name}.png", picture(RGB, number, size=40)[0])
        mask = np.zeros((40, 40), np.uint8)
        mask[10 + number % 5 : 24, 8:20] = value
        encode(folder / "drawn masks" / f"{name}_mask.png", mask)
    return folder


def written(folder: Path, *words: str) -> tuple[CheckedConfig, dict[str, Any], str]:
    """The checked run, the plain values and the text of what is written for a folder."""
    output = folder.parent / "mine.yaml"
    assert main(["configure", str(folder), "--output", str(output), *(words or ("--no-probe",))]) == 0
    return configure_file(output), read_yaml(output), output.read_text("utf-8")


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    output = folder.parent / "refused.yaml"
    assert main(["configure", str(folder), "--output", str(output), "--no-probe", *words]) == 2
    assert not output.exists()
    return capsys.readouterr().err


def test_images_with_masks_of_another_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = polyps(tmp_path / "My Polyps é")
    threads = torch.get_num_threads()
    run, values, text = written(folder, "--preset", "cpu-10min")  # with a probe
    assert torch.get_num_threads() == threads  # the probe takes as many as a training would
    own = run.settings.datasets["my-polyps"].own
    assert own is not None
    assert (own.layout, own.modality, own.images, own.masks) == ("folders", "rgb", "photos", "drawn masks")
    assert own.mask_name == "(?P<id>.+)_mask"
    assert own.mask_values == {255: 1}
    assert run.settings.datasets["my-polyps"].size == 48  # the files have no more
    recipe = run.recipes["my-polyps", "sdseg"]
    assert recipe.training.batch == 4
    assert recipe.training.steps >= 100
    assert "measured here" in text
    assert "# group_pattern: '^(.+?)[_.-][^_.-]*$'" in text
    assert values["results"] == "results-my-polyps"
    assert max(map(len, text.splitlines())) < 250
    shown = capsys.readouterr().out
    assert "12 images, 40×40" in shown
    assert "preset: cpu-10min, since you asked for it" in shown
    command = f"snakemake all --cores {values['threads']} --configfile {quote(str(tmp_path / 'mine.yaml'))}"
    assert f"#   {command}" in text.splitlines()  # snakemake takes what follows --configfile for files
    assert shown.rstrip().endswith(command)
    # The one that is there is kept.
    assert main(["configure", str(folder), "--output", str(tmp_path / "mine.yaml")]) == 2
    assert (tmp_path / "mine.yaml").read_text("utf-8") == text
    assert "there already" in capsys.readouterr().err


def test_the_written_file_prepares_its_data(tmp_path: Path) -> None:
    from sdseg.data.prepare import check
    from sdseg.datasets.split import split

    folder = polyps(tmp_path / "polyps")
    settings = written(folder)[0].settings.datasets["polyps"]
    split(settings=settings, raw=folder, output=tmp_path / "split.csv")
    assert check(name="polyps", settings=settings, raw=folder, split=tmp_path / "split.csv")


@pytest.mark.parametrize("preset", PRESETS)
def test_volumes_of_a_scanner_without_a_scale(preset: str, tmp_path: Path) -> None:
    folder = write_mr(tmp_path / "mr").rename(tmp_path / "mr" / "mr")
    run, values, text = written(folder, "--preset", preset, "--no-probe")
    own = run.settings.datasets["mr"].own
    assert own is not None
    assert own.layout == "nnunet"
    assert own.per_volume is not None
    assert "-fold between cases" in text
    assert run.settings.device == PRESETS[preset].device
    assert values["recipes"]["sdseg"]["overrides"]["training"]["steps"] <= PRESETS[preset].most_steps


def specks(folder: Path, size: int, count: int = 4) -> Path:
    """Images with squares of 6 pixels, as masks in JPEG."""
    for number in range(count):
        mask = np.zeros((200, 250), np.uint8)
        for place in range(10, 190, 40):
            mask[place : place + size, place : place + size] = 255
        encode(folder / "images" / f"{number}.png", np.stack([mask // 2] * 3, axis=-1))
        encode(folder / "masks" / f"{number}.jpg", mask)
    return folder


@pytest.mark.parametrize(("size", "tiled"), [(6, True), (30, False)])
def test_small_structures_of_large_images_are_seen_in_tiles(size: int, tiled: bool, tmp_path: Path) -> None:
    run, _, text = written(specks(tmp_path / "specks", size), "--no-probe", "--preset", "cpu-10min")
    settings = run.settings.datasets["specks"]
    assert (settings.tiles is not None) == tiled
    assert ("pixels across, and 1." in text) == tiled
    assert settings.size == 64
    if settings.tiles is not None:
        assert settings.tiles.scale == 1
        assert "about 16 tiles an image" in text  # 4 rows of 64 pixels make 200, 4 columns 250
        assert run.recipes["specks", "sdseg"].training.batch == 16  # of 64 tiles, not of 4 images


@pytest.mark.parametrize(("pixels", "resampled"), [((1.0, 1.0, 1.1), False), ((1.0, 1.0, 1.8), True)])
def test_fields_of_view_that_differ_are_brought_to_one_spacing(
    pixels: tuple[float, ...], resampled: bool, tmp_path: Path
) -> None:
    folder = scans(tmp_path / "scans", "CT")
    for number, pixel in enumerate(pixels):
        for path in (folder / f"imagesTr/p{number}_0000.nii.gz", folder / f"labelsTr/p{number}.nii.gz"):
            image = nib.load(path)
            nib.save(
                nib.Nifti1Image(np.asanyarray(image.dataobj).astype(np.int16), np.diag([pixel, pixel, 3, 1])), path
            )
    run, _, text = written(folder, "--no-probe", "--preset", "cpu-10min")
    settings = run.settings.datasets["scans"]
    assert ("resampled to one spacing" in text) == resampled
    if resampled:
        height, width = settings.size
        spacing = max(1.5 * 24 / height, 1.5 * 48 / width)  # the widest field counts as one and a half of the median
        assert settings.spacing == pytest.approx((spacing, spacing), rel=0.01)
        assert settings.fit == "shrink"
    else:
        assert settings.spacing == "none"


def scans(folder: Path, *names: str) -> Path:
    """Three oblong cases in nnU-Net's layout: a CT for each channel that is called so, another scale for the others."""
    for number in range(3):
        labels = np.zeros((48, 24, 3), np.uint8)
        labels[12:36, 6:18] = 1
        save(folder / "labelsTr" / f"p{number}.nii.gz", labels)
        for place, name in enumerate(names):
            voxels = np.random.default_rng(number).gamma(2, 1 + number, labels.shape).astype(np.float32)
            if name == "CT":
                voxels = np.full(labels.shape, -1000, np.int16)
                voxels[8:40, 4:20] = np.arange(10, 138).reshape(32, 4, 1).repeat(4, 1) + 400 * place
            save(folder / f"imagesTr/p{number}_{place:04d}.nii.gz", voxels)
    described = {"channel_names": dict(enumerate(names)), "labels": {"background": 0, "t": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(described), "utf-8")
    return folder


@pytest.mark.parametrize("names", [("CT", "PET"), ("PET", "CT")])
def test_several_channels_and_oblong_slices(names: tuple[str, ...], tmp_path: Path) -> None:
    run, values, text = written(scans(tmp_path / "pet-ct", *names))
    own = values["datasets"]["pet-ct"]["own"]
    assert own["modality"] == "other"
    window = own["normalisation"]["CT"]
    assert window["method"] == "window"
    assert 0 < window["high"] - window["low"] < 400
    assert own["normalisation"]["PET"] == {"method": "percentiles"}
    assert list(own["normalisation"]) == list(names)
    assert own["shown_channel"] == names[0]
    assert f"channels: {', '.join(names)}; the model sees all of them" in text
    assert "values of CT: -1000 to " in text
    assert "values of PET: " in text
    height, width = values["datasets"]["pet-ct"]["size"]
    assert width == 2 * height
    assert run.recipes["pet-ct", "sdseg"].training.steps > 0
    settings = run.settings.datasets["pet-ct"]
    assert open_raw(settings, tmp_path / "pet-ct")[0].channels == names  # every later stage takes them so


def test_two_cts_have_a_window_each(tmp_path: Path) -> None:
    own = written(scans(tmp_path / "phases", "CT", "CT"))[1]["datasets"]["phases"]["own"]
    assert own["modality"] == "ct"
    first, second = (own["normalisation"][name] for name in ("CT", "CT-2"))
    assert first["method"] == second["method"] == "window"
    assert second["low"] - first["low"] == 400  # as the second phase is brighter


def test_a_channel_whose_name_cannot_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(scans(tmp_path / "heads", "T1/pre", "T1/post"), capsys)
    assert "'channel_names' has 'T1/pre', 'T1/post': here the name of a channel has" in message


def test_a_ct_that_is_none_is_refused_wherever_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = scans(tmp_path / "scans", "PET", "PET")
    described = (folder / "dataset.json").read_text("utf-8").replace('"1": "PET"', '"1": "CT"')
    (folder / "dataset.json").write_text(described, "utf-8")
    assert "channel 'CT' as a CT contradicts the files: no value below 0" in refused(folder, capsys)
    own = written(folder, "--no-probe", "--modality", "other")[1]["datasets"]["scans"]["own"]
    assert own["normalisation"]["method"] == "percentiles"


def test_what_the_user_says_goes_before_what_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volumes = write_mr(tmp_path / "mr")
    assert "'--modality rgb' contradicts the files: they are volumes" in refused(volumes, capsys, "--modality", "rgb")
    assert "contradict" in refused(volumes, capsys, "--modality", "ct")
    images = polyps(tmp_path / "polyps")
    assert "'--modality mr' contradicts the files: they are images" in refused(images, capsys, "--modality", "mr")
    assert main(["configure", str(images), "--output", str(images / "x.yaml")]) == 2
    assert "lies in the raw folder" in capsys.readouterr().err


def test_a_ct_is_known_by_its_air_and_seen_through_the_window_of_its_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "scans"
    for number in range(3):
        voxels, labels = np.full((32, 32, 4), -1000, np.int16), np.zeros((32, 32, 4), np.uint8)
        voxels[4:28, 4:28], voxels[8:20, 10:20] = -80 - number, np.arange(10, 130).reshape(12, 10, 1)
        labels[8:14, 10:20], labels[14:20, 10:20] = 2, 7
        for kind, array in (("ct", voxels), ("seg", labels)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([5, 1, 1, 1])), folder / kind / f"{kind}{number}.nii.gz")
    run, _, text = written(folder)
    own = run.settings.datasets["scans"].own
    assert own is not None
    assert own.modality == "ct"
    assert own.windows == {"labelled": (-25, 175)}
    assert own.labels == {2: "label 2", 7: "label 7"}
    assert run.settings.datasets["scans"].target == "each"
    assert run.settings.datasets["scans"].slicing == "sagittal"
    assert "as air in Hounsfield units" in text
    assert "contradicts the files: 1 % of their values" in refused(folder, capsys, "--modality", "mr")
    flat = nib.load(folder / "ct" / "ct1.nii.gz")
    nib.save(nib.Nifti1Image(np.full((32, 32, 4), 7, np.int16), flat.affine), folder / "ct" / "ct1.nii.gz")
    assert "ct1.nii.gz: an empty volume: every voxel is 7" in refused(folder, capsys)


@pytest.mark.parametrize(("header", "modality"), [("PT", "pet"), ("MR", "mr"), ("CT", "ct"), ("NM", "other")])
def test_dicom_series_say_their_modality(header: str, modality: str, tmp_path: Path) -> None:
    label = np.zeros((16, 12, 2), np.uint8)
    label[4:9, 3:8, 0] = 1
    for number in range(3):
        voxels = label.astype(np.int16) * 500 + np.arange(12, dtype=np.int16)[:, None] * 9
        tags = {"t0008_0060": header, "t0028_1052": "-1024" if header == "CT" else "0"}
        write_series(tmp_path / "data" / "images" / f"p{number}", voxels, t0020_000e=f"1.2.{number}", **tags)
        save(tmp_path / "data" / "masks" / f"p{number}.nii.gz", label, SERIES)
    run, _, text = written(tmp_path / "data")
    own = run.settings.datasets["data"].own
    assert own is not None
    assert (own.layout, own.images, own.modality) == ("folders", "images", modality)
    assert f"the DICOM files say {header}" in text


def test_masks_of_several_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = polyps(tmp_path / "polyps")
    anna, ben = (folder / "drawn masks" / name for name in ("anna", "ben"))
    anna.mkdir()
    for path in sorted((folder / "drawn masks").glob("*.png")):
        path.rename(anna / path.name)
    shutil.copytree(anna, ben)
    (ben / "p0_left_mask.png").unlink()
    run, _, text = written(folder, "--annotators", "--no-probe")
    own = run.settings.datasets["polyps"].own
    assert own is not None
    assert own.annotators == {"anna": "drawn masks/anna", "ben": "drawn masks/ben"}
    assert own.mask_name == "(?P<id>.+)_mask"
    assert "missing_annotators: allow # 1 case(s)" in text
    assert "annotators: anna, ben" in capsys.readouterr().out
    (tmp_path / "mine.yaml").unlink()
    assert open_raw(run.settings.datasets["polyps"], folder)[1][0].annotations[0][0] == "anna"


def test_bad_folders_have_one_message_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = polyps(tmp_path / "polyps")
    (folder / "drawn masks" / "p0_left_mask.png").unlink()
    assert "image without mask: photos/p0_left.png" in refused(folder, capsys)
    shutil.rmtree(folder / "drawn masks")
    assert "images without masks" in refused(folder, capsys)
    shutil.copytree(folder / "photos", folder / "masks")
    assert "masks with too many values" in refused(folder, capsys)
    assert "2 case(s): training, validation and test need one each" in refused(polyps(tmp_path / "p", count=2), capsys)


@pytest.mark.parametrize(
    ("machine", "preset"),
    [
        (Machine(2, None, None), "cpu-10min"),
        (Machine(16, None, None), "cpu-1h"),
        (Machine(2, None, "A card"), "gpu"),
    ],
)
def test_the_preset_fits_the_machine(machine: Machine, preset: str) -> None:
    assert default_preset(machine)[0] == preset
