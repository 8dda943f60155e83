"""Which engines a plan asks for, on a machine that can build them and on one that cannot."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from snakemake.exceptions import WorkflowError

from sdseg.core.errors import UserError
from tests.helpers.snakemake_runs import run_snakemake
from workflow.arguments import Arguments
from workflow.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
SMI = "#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-0)'\n"


def plan(device: str = "cuda", *, jobs_in_conda: bool = False, **engines: Any) -> Plan:
    config = {
        "results": "out é",
        "device": device,
        "recipes": {"unet": {"file": str(ROOT / "config/recipes/unet.yaml")}},
        "datasets": {"kseg": {"source": "kseg", "size": 64}, "cvc": {"source": "cvc", "size": 64}},
        "export": {"precisions": ["fp32", "fp16"]},
        "engines": engines,
    }
    made = Plan(config, where="my.yaml")
    made.own_environments = jobs_in_conda
    return made


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose driver tells of a GPU."""
    program = tmp_path / "nvidia-smi"
    program.write_text(SMI, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


@pytest.fixture
def no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("gpu")
def test_every_engine_of_every_dataset() -> None:
    made = plan(jobs_in_conda=True, precisions=["fp32", "fp16"])
    names = [
        f"<results>/{dataset}/unet/export/model.{precision}.engine"
        for dataset in ("kseg", "cvc")
        for precision in ("fp32", "fp16")
    ]
    assert made.engines() == made.engines_of_all() == names
    arguments = Arguments(made.run)
    graphs = [
        arguments.graph_of_engine(SimpleNamespace(dataset="cvc", recipe="unet", precision=p)) for p in ("fp32", "fp16")
    ]
    assert [Path(graph).name for graph in graphs] == ["model.onnx", "model.fp16.onnx"]


@pytest.mark.usefixtures("gpu")
def test_without_conda_tensorrt_must_be_where_the_jobs_run() -> None:
    """With conda it comes with the environment of the jobs."""
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        assert plan().no_engines() == "TensorRT is not installed"
    assert plan(jobs_in_conda=True).no_engines() is None


@pytest.mark.usefixtures("no_gpu")
def test_what_becomes_of_engines_that_cannot_be_built(capfd: pytest.CaptureFixture[str]) -> None:
    assert plan(jobs_in_conda=True).engines() == []
    with pytest.raises(WorkflowError, match="engines cannot be built on this machine: nvidia-smi finds no NVIDIA GPU"):
        plan(jobs_in_conda=True, missing="error").engines()
    assert len(plan(missing="elsewhere").engines()) == 2


@pytest.mark.usefixtures("no_gpu")
def test_a_run_on_the_cpu_asks_for_none() -> None:
    assert plan("cpu", missing="error").engines_of_all() == []


@pytest.mark.usefixtures("no_gpu")
def test_the_page_is_made_anew_for_engines_that_came_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU no job makes them: what they say about themselves is what counts, and not the time of a copy."""
    monkeypatch.chdir(tmp_path)
    made, folder = plan("cpu"), Path("out é/kseg/unet/export")
    assert made.engines_there() == []
    folder.mkdir(parents=True)
    (folder / "model.fp32.engine.json").write_text("{}", encoding="utf-8")
    (first,) = made.engines_there()
    assert first.startswith("<results>/kseg/unet/export/model.fp32.engine ")
    (folder / "model.fp32.engine.json").touch()
    assert made.engines_there() == [first]
    (folder / "model.fp32.engine.json").write_text('{"level": 5}', encoding="utf-8")
    assert made.engines_there() != [first]
    # On a GPU they are inputs of the page, if the configuration asks for them.
    (folder / "model.fp16.engine.json").write_text("{}", encoding="utf-8")
    (other,) = plan(missing="elsewhere").engines_there()
    assert other.startswith("<results>/kseg/unet/export/model.fp16.engine ")


@pytest.mark.usefixtures("no_gpu")
def test_the_page_waits_for_the_engines_of_the_configuration(tmp_path: Path) -> None:
    """As Snakemake sees it: an edge from every engine that is asked for to the page, and none on a CPU."""
    for device, edges in (("cuda", 1), ("cpu", 0)):
        config = plan(device, missing="elsewhere").settings.model_dump(mode="json")
        (tmp_path / "run.yaml").write_text(yaml.safe_dump({**config, "results": str(tmp_path / "out")}), "utf-8")
        page = str(tmp_path / "out" / "report.html")
        done = run_snakemake(ROOT, page, "--rulegraph", "--cores", "1", "--configfile", str(tmp_path / "run.yaml"))
        assert done.returncode == 0, done.stdout
        numbers = {name: number for number, name in re.findall(r'(\d+)\[label = "(\w+)"', done.stdout)}
        assert done.stdout.count(f"{numbers.get('engine')} -> {numbers['report']}") == edges


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_an_engine_without_its_graph_is_refused(precision: str) -> None:
    with pytest.raises(UserError, match=r"engines\.precisions"):
        plan(precisions=[precision])


def test_the_environment_of_engines_is_that_of_the_gpu_and_tensorrt() -> None:
    made = plan()
    usual, own = (
        yaml.safe_load((ROOT / "workflow/rules" / name).read_text("utf-8"))["dependencies"][2]["pip"]
        for name in (made.environment, made.engine_environment)
    )
    assert own[0] == "--extra-index-url https://pypi.nvidia.com"
    assert own[1 : len(usual) + 1] == usual
    (more,) = map(Requirement, own[len(usual) + 1 :])
    assert more.name == "tensorrt-cu13"
    assert more.specifier.contains("11.4.0.106")
    assert not more.specifier.contains("10.15")
