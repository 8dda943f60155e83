"""The wheel in an empty environment with one runtime: what it weighs, what it predicts, and what it says is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK

import sdseg
from tests.helpers import light_steps
from tests.helpers.raw_files import save, write_series
from tests.helpers.tiny import CT, RGB, picture

pytestmark = pytest.mark.xdist_group("light install")
ROOT = Path(__file__).resolve().parent.parent
MOST = 360e6  # bytes without bytecode, which adds a ninth: 400 MB as a user has it
FOLDERS = ("config", "config/recipes", "workflow", "workflow/rules", "resources/splits", "resources/paper")
FILES = ("resources/datasets.yaml", "resources/weights.yaml")


def pip(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, words)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, cwd="/")


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel and ONNX Runtime, and what a user did with it."""

    python: Path
    packages: Path
    work: Path  # where the commands were given
    inputs: Path
    steps: dict[str, tuple[int, str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: building leaves files beside the sources."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("sdseg", "config", "workflow", "resources/splits", "resources/paper"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", *FILES):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    done = pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def write_inputs(folder: Path) -> Path:
    """A photo, a CT as NIfTI and MetaImage and as a DICOM series, something like a model."""
    cv2.imwrite(str(folder / "photo.png"), picture(RGB, 1, size=48)[0][..., ::-1])
    voxels = np.stack([picture(CT, seed, labels=2, size=40)[0][..., 0] for seed in range(4)], axis=-1)
    save(folder / "ct.nii.gz", voxels)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels.transpose(2, 1, 0)), str(folder / "ct.mha"))
    uids = {"t0020_000d": "1.2.826.0.1.3680043.2.1125.9", "t0020_0052": "1.2.826.0.1.3680043.2.1125.8"}
    write_series(folder / "series", voxels, **uids)
    (folder / "model").mkdir()
    (folder / "model/config.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def installed(wheel: Path, bright_rgb: Path, bright_ct: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    place = tmp_path_factory.mktemp("light")
    probed = pip("install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed", "flatbuffers")
    if probed.returncode != 0:
        pytest.skip(f"no package index can be reached: {probed.stderr.strip().splitlines()[-1]}")
    venv.create(place / "env", with_pip=False)
    python = place / "env/bin/python"
    done = pip("--python", python, "install", "--quiet", "--no-compile", "--only-binary", ":all:", f"{wheel}[cpu]")
    assert done.returncode == 0, done.stderr
    work, inputs = place / "any where", write_inputs(tmp_path_factory.mktemp("inputs é"))
    work.mkdir()
    script = shutil.copy(light_steps.__file__, work)
    plain = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    command = [str(each) for each in (python, script, inputs, bright_rgb, bright_ct)]
    done = subprocess.run(command, cwd=work, env=plain, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout.splitlines()[-1])
    packages = next((place / "env/lib").glob("python*/site-packages"))
    assert steps["at"] == [0, str(packages / "sdseg")]
    return Installed(python, packages, work, inputs, steps)


def test_it_is_light(installed: Installed) -> None:
    files = [path for path in installed.packages.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    size = sum(path.stat().st_size for path in files)
    assert size < MOST, f"{size / 1e6:.0f} MB"
    names = {path.name.partition("-")[0].lower() for path in installed.packages.glob("*.dist-info")}
    assert {"sdseg", "numpy", "onnxruntime"} <= names
    assert not names & {"torch", "diffusers", "monai", "onnx", "scipy", "simpleitk", "highdicom", "snakemake"}
    assert installed.steps["loaded"] == [0, ""]


def test_it_predicts_what_the_whole_package_predicts(installed: Installed, bright_rgb: Path, bright_ct: Path) -> None:
    out = installed.work / "out"
    assert installed.steps["image"][0] == installed.steps["volumes"][0] == 0, installed.steps["volumes"][1]
    photo = sdseg.load(bright_rgb, "cpu").predict(installed.inputs / "photo.png")
    np.testing.assert_array_equal(cv2.imread(str(out / "photo_mask.png"), cv2.IMREAD_GRAYSCALE), photo.mask * 255)
    assert (out / "photo_overlay.png").is_file()
    volume = sdseg.load(bright_ct, "cpu").predict(installed.inputs / "ct.nii.gz")
    image = nib.load(out / "ct_mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume.mask)
    np.testing.assert_allclose(image.affine, volume.geometry.matrix if volume.geometry else None)
    assert 0 < volume.masks[1].sum() < volume.masks[0].sum() < volume.mask.size
    series = sdseg.load(bright_ct, "cpu").predict(installed.inputs / "series")
    object_ = pydicom.dcmread(out / "series_mask.dcm")
    assert [one.SegmentLabel for one in object_.SegmentSequence] == ["disc", "cup"]
    assert object_.pixel_array.sum() == series.masks.sum()


def test_it_says_what_is_missing(installed: Installed) -> None:
    for command, extra in light_steps.LACKING.items():
        status, words = installed.steps[command]
        assert status == 2, words
        assert f"pip install 'sdseg[{extra}]'" in words, words
        assert "Traceback" not in words
    status, words = installed.steps["model folder"]
    assert status == 2
    assert "a model folder (exported graphs, .onnx files, do without) needs the package" in words
    assert installed.steps["metaimage"][0] == 1
    assert "ct.mha: a MetaImage or NRRD file needs the package SimpleITK" in installed.steps["metaimage"][1]
    assert "pip install 'sdseg[openvino]'" in installed.steps["openvino"][1]
    status, words = installed.steps["doctor"]
    assert status == 0, words
    for extra in ("formats", "train", "download", "report", "workflow"):
        assert f"pip install 'sdseg[{extra}]'" in words


def test_the_workflow_of_the_wheel_makes_a_plan(wheel: Path, tmp_path: Path) -> None:
    """Without a checkout, from any folder, on the Python that has Snakemake; conda's environments would lack sdseg."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    shipped = tmp_path / "site/sdseg/shipped"
    plan = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1"]
    plan += ["--snakefile", str(shipped / "workflow/Snakefile"), "--configfile", str(shipped / "config/demo.yaml")]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}

    def planned(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*plan, *more], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False
        )

    done = planned()
    assert done.returncode == 0, done.stderr
    assert "This run: 5 datasets" in done.stdout + done.stderr
    assert "web page of sdseg" in done.stdout + done.stderr
    refused = planned("--use-conda")
    assert refused.returncode == 1
    assert "--use-conda needs a checkout of sdseg" in refused.stdout + refused.stderr


def test_what_the_root_holds_comes_along(installed: Installed) -> None:
    """Registry, splits, recipes, configurations and workflow; none of it is looked for in the working directory."""
    status, words = installed.steps["files"]
    shipped = Path(words.strip())
    assert status == 0
    assert shipped == installed.packages / "sdseg/shipped"
    for name in FOLDERS:
        assert {path.name for path in (shipped / name).iterdir()} == {
            path.name for path in (ROOT / name).iterdir() if path.name != "__pycache__"
        }
    assert all((shipped / name).read_bytes() == (ROOT / name).read_bytes() for name in FILES)
    status, words = installed.steps["download"]
    assert "or fetch the above from https://datasets.simula.no/kvasir-seg/" in words  # by the registry
    status, words = installed.steps["configuration"]  # its recipes and splits are read with it
    assert status == 1, words
    assert "config/config.yaml" in words
    assert "problem kseg                    no raw files: resources/raw/kseg is missing" in words
    assert "no split file" not in words
    assert "a run needs [train], [report], [workflow]" in words
