"""Engines and Triton repositories: what needs no GPU for real, and the whole of it where there are GPU and TensorRT."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from sdseg.artifacts.image_contract import ImageContract, Structure
from sdseg.artifacts.manifests import EngineManifest
from sdseg.backends.graph import GraphHypotheses
from sdseg.backends.open_model import open_model
from sdseg.backends.tensorrt_engine import read_engine_manifest, side_file
from sdseg.config.export import Batches, EngineOptions, Export, Precision
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import sha256_file, write_json
from sdseg.export.onnx import export
from sdseg.export.tensorrt import EngineSource, check_precision, export_engine
from sdseg.export.tracing import graph_inputs, graph_outputs
from sdseg.export.triton import export_triton
from sdseg.export.triton_config import Variant, config_text
from tests.helpers.models import GAUSSIAN, write_latent_model
from tests.helpers.tiny import CT, DISC_CUP, MR, POLYP, RGB, describe, picture, write_graph, write_model, write_store

TYPES = {"uint8": "UINT8", "float32": "FP32"}


def parsed(config: Path) -> Any:
    """config.pbtxt as Triton's own message type reads it: unknown fields, wrong types and enum values are errors."""
    return text_format.Parse(config.read_text("utf-8"), model_config()())


def model_config() -> Any:
    """Triton's ModelConfig: from tritonclient where it is installed, else from the copy of its field names here."""
    if (spec := importlib.util.find_spec("tritonclient")) is not None and spec.submodule_search_locations:
        path = Path(spec.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
        found = importlib.util.spec_from_file_location("model_config_pb2", path)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return module.ModelConfig
    table = json.loads((Path(__file__).parent / "triton_model_config.json").read_text("utf-8"))
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    places: dict[str, Any] = {}
    for name in sorted(table["messages"], key=lambda name: name.count(".")):
        parent, _, short = name.rpartition(".")
        within = file.message_type if parent == "inference" else places[parent].nested_type
        places[name] = within.add(name=short)
    for name, values in table["enums"].items():
        parent, _, short = name.rpartition(".")
        enum = (file if parent == "inference" else places[parent]).enum_type.add(name=short)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in table["messages"].items():
        for field, number, kind, repeated, refers, is_map in fields:
            made = places[name].field.add(name=field, number=number, type=getattr(kinds, f"TYPE_{kind.upper()}"))
            made.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if refers:
                made.type_name = f".{refers}"
            if is_map:
                places[refers].options.map_entry = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


def write_engine(folder: Path, batches: Batches) -> Path:
    """A file in the place of an engine with what describes it: Triton's repository only carries it."""
    path = folder / "model.fp16.engine"
    path.write_bytes(b"a plan")
    values: dict[str, Any] = {"engine_checksum": sha256_file(path), "tensorrt": "11.4", "gpu": "g", "precision": "fp16"}
    values |= {"compute_capability": "9.0", "options": EngineOptions(batches=batches), "graph_file": "model.fp16.onnx"}
    values |= {"graph_checksum": "", "graph": describe(RGB), "layers": {}, "seconds": 1, "parity": None}
    write_json(side_file(path), EngineManifest.model_validate({**values, "provenance": {}}))
    return path


def test_a_repository_that_triton_understands(tmp_path: Path) -> None:
    exported, repository = tmp_path / "an export é", tmp_path / "models"
    write_graph(exported / "model.onnx")
    write_engine(exported, Batches(min=1, opt=4, max=12))
    versions = export_triton(exported, repository, max_batch=6)
    assert [path.relative_to(repository).as_posix() for path in versions] == [
        "tiny_bright/1",
        "tiny_bright_fp16_tensorrt/1",
    ]

    graph = parsed(repository / "tiny_bright/config.pbtxt")
    assert (graph.name, graph.platform, graph.max_batch_size) == ("tiny_bright", "onnxruntime_onnx", 6)
    kinds = graph.input[0].DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_name
    assert [(port.name, list(port.dims)) for port in graph.input] == [("image", [32, 32, 3])]
    assert graph.input[0].data_type == kinds["TYPE_UINT8"].number
    assert [(port.name, list(port.dims)) for port in graph.output] == [("probability", [1, 32, 32])]
    assert graph.output[0].data_type == kinds["TYPE_FP32"].number
    kinds = graph.instance_group[0].DESCRIPTOR.fields_by_name["kind"].enum_type.values_by_name
    assert graph.instance_group[0].kind == kinds["KIND_AUTO"].number
    assert graph.dynamic_batching.max_queue_delay_microseconds == 2000
    told = json.loads(graph.parameters["sdseg"].string_value)
    assert (told["threshold"], told["structures"][0]["name"]) == (0.5, "polyp")

    engine = parsed(repository / "tiny_bright_fp16_tensorrt/config.pbtxt")
    assert engine.instance_group[0].kind == kinds["KIND_GPU"].number
    assert (engine.platform, engine.max_batch_size, engine.optimization.cuda.graphs) == ("tensorrt_plan", 12, True)
    assert (repository / "tiny_bright_fp16_tensorrt/1/model.plan").read_bytes() == b"a plan"


def test_what_is_served_computes_what_was_exported(tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "export/model.onnx", CT, DISC_CUP, noise_shape=(4, 8, 8))
    (version,) = export_triton(tmp_path, tmp_path / "models", gpu=False)  # a results folder: its export/
    config = parsed(version.parent / "config.pbtxt")
    image = picture(CT, 3, labels=2)[0][None].astype(np.float32)
    feed = {"image": image, "noise": np.zeros((1, 4, 8, 8), np.float32)}
    assert {port.name: (1, *port.dims) for port in config.input} == {key: value.shape for key, value in feed.items()}
    found = onnxruntime.InferenceSession(str(version / "model.onnx")).run(["probability"], feed)[0]
    expected = onnxruntime.InferenceSession(str(graph)).run(["probability"], feed)[0]
    np.testing.assert_array_equal(found, expected)


CHANNELS = MR.model_copy(update={"channels": 2, "channel_names": ("T1", "T2")})
PATCH = (8, 32, 32)


@pytest.mark.parametrize(
    ("image", "structures", "patch", "hypotheses", "dims"),
    [
        (RGB, POLYP, None, None, {"image": [32, 32, 3], "probability": [1, 32, 32]}),
        (CHANNELS, DISC_CUP, None, None, {"image": [32, 32, 2], "probability": [2, 32, 32]}),
        (RGB, DISC_CUP, None, 5, {"noise": [20, 8, 8], "entropy": [2, 32, 32], "hypotheses": [5, 2, 32, 32]}),
        (CT, DISC_CUP, PATCH, None, {"image": [8, 32, 32, 1], "probability": [2, 8, 32, 32]}),
        (CT, DISC_CUP, PATCH, 3, {"noise": [12, 2, 8, 8], "variance": [2, 8, 32, 32], "hypotheses": [3, 2, 8, 32, 32]}),
    ],
    ids=["one structure", "two channels", "hypotheses", "patches", "hypotheses of patches"],
)
def test_triton_is_told_every_port_of_a_graph(
    image: ImageContract,
    structures: tuple[Structure, ...],
    patch: tuple[int, int, int] | None,
    hypotheses: int | None,
    dims: dict[str, list[int]],
) -> None:
    noise = None if hypotheses is None else (4 * hypotheses, *((2,) if patch else ()), 8, 8)
    inputs, outputs = graph_inputs(image, noise, patch), graph_outputs(image, len(structures), hypotheses, patch)
    graph = describe(image, structures).model_copy(update={"inputs": inputs, "outputs": outputs})
    config = text_format.Parse(config_text(Variant("any", "onnxruntime_onnx", graph, 8, True)), model_config()())
    kinds = config.input[0].DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_name
    for given, told in ((inputs, config.input), (outputs, config.output)):
        expected = [(port.name, list(port.axes[1:]), kinds[f"TYPE_{TYPES[port.dtype]}"].number) for port in given]
        assert [(port.name, list(port.dims), port.data_type) for port in told] == expected
    found = {port.name: list(port.dims) for port in (*config.input, *config.output)}
    assert found | dims == found
    names = [one["name"] for one in json.loads(config.parameters["sdseg"].string_value)["structures"]]
    assert names == [one.name for one in structures]


def test_another_export_is_another_version(tmp_path: Path) -> None:
    graph, repository = write_graph(tmp_path / "export/model.onnx"), tmp_path / "models"
    assert [path.name for _ in range(3) for path in export_triton(graph.parent, repository)] == ["1", "2", "3"]
    assert sorted(path.name for path in (repository / "tiny_bright").iterdir()) == ["1", "2", "3", "config.pbtxt"]
    write_graph(graph, CT)
    with pytest.raises(UserError, match="a model of this name with other inputs or outputs"):
        export_triton(graph.parent, repository)


def test_what_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no graph and no engine in this folder"):
        export_triton(tmp_path, tmp_path / "models")
    with pytest.raises(UserError, match="a batch of 0 images"):
        export_triton(tmp_path, tmp_path / "models", max_batch=0)
    write_engine(tmp_path, Batches(min=2, opt=4, max=8))
    with pytest.raises(UserError, match="takes no batch below 2, and Triton's requests may hold one image"):
        export_triton(tmp_path, tmp_path / "models")


@pytest.mark.parametrize("precision", ["int8", "int8_mixed", "int8_weights"])
def test_no_engine_from_a_graph_that_was_quantised_for_cpus(precision: Precision, tmp_path: Path) -> None:
    graph = tmp_path / f"model.{precision}.onnx"
    with pytest.raises(UserError, match=f"the {precision} graph is made for CPUs") as caught:
        check_precision(precision, graph)
    assert "fp16" in str(caught.value)
    check_precision("fp16", graph)


def test_an_engine_is_opened_on_a_gpu_alone(tmp_path: Path) -> None:
    engine = write_engine(tmp_path, Batches())
    with pytest.raises(UserError, match="a TensorRT engine runs on a GPU alone"):
        open_model(engine)


def tensorrt_usable() -> str | None:
    """Why the tests below are skipped, None where they run."""
    import torch

    if importlib.util.find_spec("tensorrt") is None:
        return "TensorRT is not installed: nothing of an engine was built or run"
    return None if torch.cuda.is_available() else "no GPU: nothing of an engine was built or run"


@pytest.mark.skipif(tensorrt_usable() is not None, reason=str(tensorrt_usable()))
def test_an_engine_from_end_to_end(tmp_path: Path) -> None:
    """Built, compared with the model on real cases by the gate, opened again, run at several sizes of a batch."""
    model = write_model(tmp_path / "model", CT, DISC_CUP)
    store = write_store(tmp_path / "prepared", CT, DISC_CUP, {"train": (1,), "val": (1,), "test": (3, 1, 2)})
    output, cache = tmp_path / "export", tmp_path / "timing.cache"
    export(model, store, output, Export())
    source = EngineSource(model, output / "model.onnx", store)
    options = EngineOptions(batches=Batches(min=2, opt=4, max=8), level=0)
    engine = export_engine(source, output, options, Export(), cache)
    assert engine == output / "model.fp32.engine"
    assert cache.stat().st_size > 0

    manifest = read_engine_manifest(engine)
    assert manifest.parity is not None
    assert manifest.parity["passed"]
    assert manifest.layers.get("fp32")
    served, reference = open_model(engine, "cuda"), open_model(model)
    for count in (1, 2, 3, 8, 19):
        images = np.stack([picture(CT, seed, labels=2)[0] for seed in range(count)])
        found = served.backend.probability(images)
        np.testing.assert_allclose(found, reference.backend.probability(images), atol=1e-3)

    # What was written says what it was built for, and refuses another machine by name.
    assert manifest.options == options
    assert json.loads(side_file(engine).read_text("utf-8"))["tensorrt"].startswith("11.")
    write_json(side_file(engine), manifest.model_copy(update={"tensorrt": "11.3.0", "gpu": "Tesla T4"}))
    with pytest.raises(ListedError, match="the engine does not fit this machine") as caught:
        open_model(engine, "cuda")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["version", "GPU"]
    write_json(side_file(engine), manifest)
    engine.write_bytes(engine.read_bytes()[:-100])
    with pytest.raises(UserError, match="truncated or was replaced"):
        open_model(engine, "cuda")


@pytest.mark.skipif(tensorrt_usable() is not None, reason=str(tensorrt_usable()))
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_an_engine_in_half_precision(tmp_path: Path, precision: str) -> None:
    """Its layers compute in it, and it keeps the tolerances, which are wide here: the networks are untrained."""
    model = write_model(tmp_path / "model", CT, DISC_CUP)
    store = write_store(tmp_path / "prepared", CT, DISC_CUP, {"train": (1,), "val": (1,), "test": (3, 1, 2)})
    limits = {"max_abs_difference": 0.3, "max_mean_difference": 0.1, "max_dice_difference": 1, "min_mask_dice": 0}
    settings = Export.model_validate(
        {"precisions": [precision], "unchecked": "keep", "tolerances": {precision: limits}}
    )
    export(model, store, tmp_path / "export", settings)
    source = EngineSource(model, tmp_path / "export" / f"model.{precision}.onnx", store)
    options = EngineOptions(batches=Batches(min=1, opt=2, max=4), level=0)
    engine = export_engine(source, tmp_path / "export", options, settings)
    assert engine.name == f"model.{precision}.engine"
    assert read_engine_manifest(engine).layers.get(precision)


@pytest.mark.skipif(tensorrt_usable() is not None, reason=str(tensorrt_usable()))
def test_an_engine_that_gives_its_hypotheses(tmp_path: Path) -> None:
    """Every output of its graph is compared by the gate, and comes back in batches of any size."""
    model = write_latent_model(tmp_path / "model", **GAUSSIAN, inference={"samples": 3})
    store = write_store(tmp_path / "prepared")
    export(model, store, tmp_path / "export", Export(hypotheses=True))
    source = EngineSource(model, tmp_path / "export" / "model.onnx", store)
    options = EngineOptions(batches=Batches(min=2, opt=2, max=4), level=0)
    engine = export_engine(source, tmp_path / "export", options, Export())
    parity = read_engine_manifest(engine).parity
    assert parity is not None
    assert all(parity[f"{name}_difference"] < 1e-3 for name in ("hypotheses", "variance", "entropy"))
    images = np.stack([picture(RGB, seed)[0] for seed in range(5)])
    served, graph = (open_model(path, on).backend for path, on in ((engine, "cuda"), (source.graph, "cpu")))
    assert isinstance(served, GraphHypotheses)
    assert isinstance(graph, GraphHypotheses)
    for name, output in served.beside_probability(images).items():
        np.testing.assert_allclose(output, graph.beside_probability(images)[name], atol=1e-3)


@pytest.mark.skipif(tensorrt_usable() is not None, reason=str(tensorrt_usable()))
def test_an_engine_that_draws_noise(tmp_path: Path) -> None:
    """Fed with the same noise as ONNX Runtime, whatever the size of the batch."""
    from sdseg.backends.graph_checksum import graph_checksum
    from sdseg.backends.tensorrt import this_machine
    from sdseg.export.tensorrt_build import build

    graph = write_graph(tmp_path / "model.onnx", RGB, noise_shape=(2, 4, 4))
    described, options = describe(RGB, noise_shape=(2, 4, 4)), EngineOptions(batches=Batches(min=1, opt=2, max=4))
    engine, here = tmp_path / "model.fp32.engine", this_machine()
    engine.write_bytes(build(graph, described.inputs, options, None).plan)
    values: dict[str, Any] = {**vars(here), "engine_checksum": sha256_file(engine), "precision": "fp32"}
    values |= {"options": options, "graph_file": graph.name, "graph_checksum": graph_checksum(graph), "layers": {}}
    values |= {"graph": described, "seconds": 1, "parity": None, "provenance": {}}
    write_json(side_file(engine), EngineManifest.model_validate(values))
    for seed, count in ((3, 1), (3, 6), (4, 2)):
        images = np.stack([picture(RGB, each)[0] for each in range(count)])
        found, expected = (open_model(path, on, seed).backend for path, on in ((engine, "cuda"), (graph, "cpu")))
        np.testing.assert_allclose(found.probability(images), expected.probability(images), atol=1e-4)
