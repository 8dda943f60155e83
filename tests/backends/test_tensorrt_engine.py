"""Engines: whether they fit a machine, what they are made from and became; no GPU is needed to know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sdseg.artifacts.manifests import EngineMachine, EngineManifest
from sdseg.backends.tensorrt_engine import (
    batch_shapes,
    check_fits,
    layer_precisions,
    misfits,
    precision_problem,
    read_engine_manifest,
    rebuild_command,
    side_file,
)
from sdseg.backends.tensorrt_support import check_version, require_tensorrt
from sdseg.config.export import Batches, EngineOptions
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import sha256_file, write_json
from sdseg.export.tracing import graph_inputs
from tests.helpers.tiny import CT, RGB, describe

HERE = EngineMachine("11.4.0.106", "NVIDIA H100 80GB HBM3", "9.0")


def manifest(**changes: Any) -> EngineManifest:
    values: dict[str, Any] = {
        "engine_checksum": "e",
        "tensorrt": HERE.tensorrt,
        "gpu": HERE.gpu,
        "compute_capability": HERE.compute_capability,
        "precision": "fp16",
        "options": EngineOptions(),
        "graph_file": "model.fp16.onnx",
        "graph_checksum": "g",
        "graph": describe(),
        "layers": {"fp16": 12, "fp32": 3},
        "seconds": 61.5,
        "parity": None,
        "provenance": {},
    }
    return EngineManifest.model_validate(values | changes)


def write_engine(folder: Path, content: bytes = b"a plan", **changes: Any) -> Path:
    """A file in the place of an engine, and what would describe it."""
    path = folder / "model.fp16.engine"
    path.write_bytes(content)
    write_json(side_file(path), manifest(**{"engine_checksum": sha256_file(path), **changes}))
    return path


@pytest.mark.parametrize(
    ("built", "here", "expected"),
    [
        ({}, HERE, []),
        ({"tensorrt": "11.3.0.99"}, HERE, ["version: built by TensorRT 11.3.0.99, here is 11.4.0.106"]),
        (
            {},
            EngineMachine(HERE.tensorrt, "NVIDIA L4", "8.9"),
            ["GPU: built on NVIDIA H100 80GB HBM3 (compute capability 9.0), here is NVIDIA L4 (8.9)"],
        ),
        (
            {},
            EngineMachine(HERE.tensorrt, "NVIDIA H200", "9.0"),
            ["GPU: built on NVIDIA H100 80GB HBM3 (compute capability 9.0), here is NVIDIA H200 (9.0)"],
        ),
        ({"options": {"hardware": "same-compute-capability"}}, EngineMachine(HERE.tensorrt, "NVIDIA H200", "9.0"), []),
        (
            {"options": {"hardware": "same-compute-capability"}},
            EngineMachine(HERE.tensorrt, "NVIDIA B200", "10.0"),
            ["GPU: built on NVIDIA H100 80GB HBM3 (compute capability 9.0), here is NVIDIA B200 (10.0)"],
        ),
        ({"options": {"hardware": "ampere-plus"}}, EngineMachine(HERE.tensorrt, "NVIDIA B200", "10.0"), []),
        (
            {"options": {"hardware": "ampere-plus"}},
            EngineMachine(HERE.tensorrt, "Tesla T4", "7.5"),
            [
                "GPU: built on NVIDIA H100 80GB HBM3 (compute capability 9.0) for Ampere and newer, "
                "here is Tesla T4 (7.5)"
            ],
        ),
    ],
)
def test_what_differs_is_named(built: dict[str, Any], here: EngineMachine, expected: list[str]) -> None:
    assert misfits(manifest(**built), here, "e", "g") == expected


def test_checksums_that_differ_are_named() -> None:
    assert misfits(manifest(), HERE, "e", None) == []  # no graph beside it
    assert misfits(manifest(), HERE, "other", "other") == [
        "checksum: the engine file is not the one that was built; it is truncated or was replaced",
        "checksum: model.fp16.onnx beside it is not the graph it was built from",
    ]


def test_a_misfit_says_how_to_rebuild(tmp_path: Path) -> None:
    folder = tmp_path / "kseg é" / "sdseg" / "export"
    (folder.parent / "model").mkdir(parents=True)
    folder.mkdir()
    options = {"batches": {"min": 1, "opt": 4, "max": 32}, "workspace_gb": 6, "hardware": "ampere-plus", "tf32": True}
    engine = write_engine(folder, options=options)
    check_fits(engine, read_engine_manifest(engine), HERE)
    with pytest.raises(ListedError, match="the engine does not fit this machine") as caught:
        check_fits(engine, read_engine_manifest(engine), EngineMachine("11.5.0", "Tesla T4", "7.5"))
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["version", "GPU"]
    command = rebuild_command(engine, read_engine_manifest(engine))
    assert command in str(caught.value)
    assert f"--model '{folder.parent / 'model'}'" in command
    assert "--graph model.fp16.onnx --prepared PREPARED" in command  # neither is there
    assert command.endswith("--batches 1,4,32 --level 3 --hardware ampere-plus --workspace-gb 6 --tf32")


def test_the_rebuild_command_is_understood(tmp_path: Path) -> None:
    import shlex

    from sdseg.cli.commands import HANDLERS
    from sdseg.cli.parser import build_parser

    engine = write_engine(tmp_path, options={"hardware": "ampere-plus", "workspace_gb": 0.5})
    parsed = build_parser(HANDLERS).parse_args(shlex.split(rebuild_command(engine, read_engine_manifest(engine)))[1:])
    assert (parsed.verb, parsed.to, parsed.batches, parsed.workspace_gb) == ("export", "tensorrt", "1,8,16", 0.5)


def test_an_engine_that_was_tampered_with(tmp_path: Path) -> None:
    engine = write_engine(tmp_path)
    engine.write_bytes(b"a pla")
    with pytest.raises(ListedError, match="truncated or was replaced"):
        check_fits(engine, read_engine_manifest(engine), HERE)


def test_a_graph_that_was_exported_again(tmp_path: Path) -> None:
    engine = write_engine(tmp_path)
    (tmp_path / "model.fp16.onnx").write_bytes(b"another graph")
    with pytest.raises(ListedError, match=r"model\.fp16\.onnx beside it is not the graph"):
        check_fits(engine, read_engine_manifest(engine), HERE)


def test_what_is_no_engine_of_ours(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the engine file is missing"):
        read_engine_manifest(tmp_path / "model.engine")
    engine = write_engine(tmp_path)
    write_json(side_file(engine), manifest(kind="sdseg-graph"))
    with pytest.raises(UserError, match="this describes a 'sdseg-graph', not an engine"):
        read_engine_manifest(engine)
    side_file(engine).write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="not valid JSON"):
        read_engine_manifest(engine)
    side_file(engine).unlink()
    with pytest.raises(UserError, match="a foreign engine") as caught:
        read_engine_manifest(engine)
    assert "copy its .json file along with it" in str(caught.value)


def test_the_profile_covers_every_input() -> None:
    ports = graph_inputs(CT, (4, 8, 8))
    assert batch_shapes(ports, Batches(min=1, opt=4, max=16)) == {
        "image": ((1, 32, 32, 1), (4, 32, 32, 1), (16, 32, 32, 1)),
        "noise": ((1, 4, 8, 8), (4, 4, 8, 8), (16, 4, 8, 8)),
    }


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 64))
def test_batches_grow(smallest: int, usual: int, largest: int) -> None:
    if smallest <= usual <= largest:
        shapes = batch_shapes(graph_inputs(RGB, None), Batches(min=smallest, opt=usual, max=largest))
        assert [shape[0] for shape in shapes["image"]] == [smallest, usual, largest]
    else:
        with pytest.raises(ValidationError, match="batches must grow"):
            Batches(min=smallest, opt=usual, max=largest)


def test_layers_are_counted_by_type() -> None:
    """As the inspector of TensorRT 11 writes them, and that of 10."""
    words = ["Half", "BFloat16", "Float", "Int8", "UInt8", "Int64", "Bool"]
    layers: list[Any] = [{"Name": word, "LayerType": "kgen", "Outputs": [{"DataType": word}]} for word in words]
    layers += [{"Name": "old", "Outputs": [{"Format/Datatype": "Row major linear FP16 format"}]}]
    layers += [{"Name": "no output", "Outputs": []}, "a name alone"]
    assert layer_precisions(json.dumps({"Layers": layers, "I/O Tensors": []})) == {
        "bf16": 1,
        "bool": 1,
        "fp16": 2,
        "fp32": 1,
        "int64": 1,
        "int8": 1,
        "uint8": 1,
        "unknown": 2,
    }


def test_half_precision_that_was_not_built() -> None:
    problem = precision_problem("fp16", {"fp32": 40, "int64": 2})
    assert problem == "precision: fp16 was asked for, and no layer computes in it (40 fp32, 2 int64)"
    assert precision_problem("fp16", {"fp16": 30, "fp32": 10}) is None
    assert precision_problem("fp16", {"unknown": 3}) is None  # the inspector told nothing


@pytest.mark.parametrize("version", ["10.15.1.29", "8.6.1", "11.0.0", "12.0.0"])
def test_other_versions_are_refused(version: str) -> None:
    with pytest.raises(UserError, match=rf"TensorRT {version} is installed; supported versions: .*>=11\.4"):
        check_version(version)


def test_supported_versions() -> None:
    for version in ("11.4.0.106", "11.9.1"):
        check_version(version)


def test_without_tensorrt_the_remedy_is_named() -> None:
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match="TensorRT is not installed") as caught:
            require_tensorrt()
        assert "sdseg[tensorrt]" in str(caught.value)
    else:
        pytest.skip("TensorRT is installed here")


def test_the_extra_installs_a_supported_version(root: Path) -> None:
    import tomllib

    from packaging.requirements import Requirement

    from sdseg.backends.tensorrt_support import SUPPORTED

    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    (requirement,) = map(Requirement, project["optional-dependencies"]["tensorrt"])
    assert requirement.specifier == SUPPORTED
