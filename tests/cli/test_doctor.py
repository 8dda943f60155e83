"""What the doctor says of a machine, and of a configuration on it."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from sdseg.cli import doctor as module
from sdseg.cli.doctor import Finding, doctor, examine
from sdseg.cli.installed_extras import EXTRAS_SHOWN, requirements_of
from tests.helpers.installed import skip_without_openvino

ROOT = Path(__file__).resolve().parents[2]


def configuration(folder: Path, **changes: Any) -> Path:
    """A configuration on a plain U-Net whose files are all there, before `changes`."""
    (folder / "raw/kseg").mkdir(parents=True)
    (folder / "splits/kseg").mkdir(parents=True)
    (folder / "splits/kseg/clean.csv").write_text("id,group,split\n", encoding="utf-8")
    (folder / "unet.yaml").write_text("{description: plain, network: {kind: direct}}", encoding="utf-8")
    values = {
        "raw": str(folder / "raw"),
        "splits": str(folder / "splits"),
        "recipes": {"unet": {"file": str(folder / "unet.yaml")}},
        "datasets": {"kseg": {"source": "kseg"}},
        **changes,
    }
    path = folder / "mein Lauf é.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def problems(path: Path, gpus: int = 0) -> dict[str, Finding]:
    return {each.subject: each for each in module._configuration(path, gpus) if each.state == "problem"}


def test_this_machine_can_run_the_demo(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert doctor(Path("config/demo.yaml")) == 0
    shown = capsys.readouterr().out
    for word in ("python", "torch", "GPU", "onnxruntime", "snakemake", "tensorrt", "conda", "memory", "free disk"):
        assert word in shown
    assert "no problem found" in shown


def test_a_problem_is_counted_and_sets_the_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(tmp_path / "missing.yaml") == 1
    shown = capsys.readouterr().out
    assert "the file is missing" in shown
    assert "1 problem(s)" in shown


def test_every_restriction_has_a_fix() -> None:
    assert all((finding.fix is None) == (finding.state == "ok") for finding in examine())


def test_it_is_quick() -> None:
    """Measured by loading PyTorch, which is most of it; a number of seconds would be another on every processor."""
    assert cpu_seconds("-m", "sdseg", "doctor") < 2 * cpu_seconds("-c", "import torch")


def cpu_seconds(*words: str) -> float:
    """Of a Python that is given these words."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_python_that_is_too_old() -> None:
    assert module._python((3, 10, 14)).state == "problem"
    assert module._python((3, 11, 0)).state == "ok"


@pytest.mark.parametrize(
    ("wanted", "version", "state"),
    [("numpy>=2.4,<3", "2.4.6", "ok"), ("numpy>=2.4,<3", "1.26.0", "problem"), ("torch==2.13.0", "2.13.0+cpu", "ok"),
     ("torch==2.13.0", "2.14.0", "problem"), ("monai>=1.6", None, "problem")],
)  # fmt: skip
def test_packages(wanted: str, version: str | None, state: str) -> None:
    finding = module._package(Requirement(wanted), version)
    assert finding.state == state
    if state == "problem":
        assert (version or "missing") in finding.description


def test_every_package_of_a_stage_is_looked_at() -> None:
    assert {"numpy", "pydicom"} <= {each.name for each in requirements_of()}
    assert {"torch", "diffusers", "monai", "simpleitk"} <= {each.name for each in requirements_of("train")}
    assert {"torch", "snakemake", "jinja2", "requests"} <= {each.name for each in requirements_of("all")}


def test_extras_are_told_apart() -> None:
    for extra, purpose in EXTRAS_SHOWN.items():
        here = module._extra(extra, purpose, [])
        assert (here.state, here.subject) == ("ok", f"[{extra}]")
    missing = module._extra("train", "training", ["torch", "monai"])
    assert (missing.state, missing.fix) == ("note", "pip install 'sdseg[train]'")
    assert missing.description == "lacks torch, monai; for training"
    assert module._extra("train", "training", ["torch 2.14.0, expected ==2.13.0"]).state == "problem"


def test_a_run_needs_its_extras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "faults_of", lambda each: "missing" if each.name in ("torch", "snakemake") else None)
    found = problems(configuration(tmp_path))
    assert "a run needs [train], [workflow]" in found["extras"].description
    assert "pip install 'sdseg[train,workflow]'" in (found["extras"].fix or "")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}, "onnxruntime and onnxruntime-gpu together"),
        ({"onnxruntime": "1.31.1", "onnxruntime-openvino": "1.24.1"}, "onnxruntime and onnxruntime-openvino together"),
    ],
)
def test_onnxruntime_twice(found: dict[str, str], message: str) -> None:
    (finding,) = module._onnxruntime(found)
    assert finding.state == "problem"
    assert message in finding.description
    assert all(name in (finding.fix or "") for name in found)


@pytest.mark.parametrize(("openvino", "state"), [("2026.4.1", "note"), (None, "problem")])
def test_no_onnxruntime(monkeypatch: pytest.MonkeyPatch, openvino: str | None, state: str) -> None:
    monkeypatch.setattr(module, "version_of", lambda name: openvino)
    (finding,) = module._onnxruntime({})
    assert (finding.state, finding.subject) == (state, "onnxruntime")
    assert "pip install 'sdseg[cpu]'" in (finding.fix or "")


def test_onnxruntime_names_its_providers() -> None:
    (finding,) = module._onnxruntime({"onnxruntime": "1.31.1"})
    assert finding.state == "ok"
    assert "CPU" in finding.description


def test_openvino_is_looked_at() -> None:
    missing = module._openvino(None)
    assert missing.state == "note"
    assert "sdseg[openvino]" in (missing.fix or "")
    skip_without_openvino()
    there = module._openvino("2026.4.1")
    assert there.state == "ok"
    assert "openvino-bf16" in there.description


@pytest.mark.parametrize(
    ("version", "state"), [("24.7.1", "ok"), ("26.3.0", "ok"), ("24.7.0", "note"), ("", "note"), (None, "note")]
)
def test_conda(version: str | None, state: str) -> None:
    assert module._conda(version).state == state


@pytest.mark.parametrize(("says", "version"), [("conda 24.11.3", "24.11.3"), ("broken", "")])
def test_conda_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, version: str) -> None:
    program = tmp_path / "conda"
    program.write_text(f"#!/bin/sh\necho {says}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert module._conda_version() == version


def test_no_conda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert module._conda_version() is None


@pytest.mark.parametrize(("free", "state"), [(0.5, "problem"), (5.0, "note"), (50.0, "ok")])
def test_disk(free: float, state: str) -> None:
    assert module._disk(free).state == state


def test_configuration_that_can_run(tmp_path: Path) -> None:
    assert problems(configuration(tmp_path)) == {}


def test_cuda_without_a_gpu(tmp_path: Path) -> None:
    path = configuration(tmp_path, device="cuda")
    assert set(problems(path)) == {"device"}
    assert problems(path, gpus=1) == {}


def test_misspelt_key(tmp_path: Path) -> None:
    found = problems(configuration(tmp_path, devise="cpu"))
    assert "did you mean 'device'?" in found["configuration"].description


def test_recipe_that_does_not_exist(tmp_path: Path) -> None:
    found = problems(configuration(tmp_path, recipes={"unet": {"file": str(tmp_path / "no.yaml")}}))
    assert "the file is missing" in found["configuration"].description


def test_raw_files_split_and_weights_that_are_missing(tmp_path: Path) -> None:
    datasets = {"kseg": {"source": "kseg", "protocol": "paper"}, "cvc": {"source": "cvc"}}
    found = list(
        module._configuration(configuration(tmp_path, datasets=datasets, codecs={"k": {"weights": "no folder"}}), 0)
    )
    shown = [f"{each.subject}: {each.description}" for each in found if each.state == "problem"]
    assert {line.partition(" is missing")[0].replace(str(tmp_path), "") for line in shown} == {
        "kseg: no split file: /splits/kseg/paper.csv",
        "cvc: no raw files: /raw/cvc",
        "cvc: no split file: /splits/cvc/clean.csv",
        "codec k: no weights: no folder",
    }


def test_phantoms_need_no_files(tmp_path: Path) -> None:
    datasets = {"cvc": {"source": "cvc", "origin": "phantom"}}
    assert problems(configuration(tmp_path, datasets=datasets, phantoms={})) == {}
