"""What lies beside an engine, `<engine>.json`: where it was built and from what, and whether it fits this machine."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdseg.artifacts.manifests import EngineMachine, EngineManifest, GraphPort
from sdseg.backends.graph_checksum import graph_checksum
from sdseg.config.export import Batches
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import read_json, sha256_file

__all__ = [
    "batch_shapes",
    "check_fits",
    "engine_file",
    "layer_precisions",
    "misfits",
    "precision_problem",
    "read_engine_manifest",
    "rebuild_command",
    "refused_engine",
    "side_file",
]


def engine_file(precision: str) -> str:
    return f"model.{precision}.engine"


def side_file(engine: Path) -> Path:
    """`model.fp16.engine` -> `model.fp16.engine.json`, beside it."""
    return engine.with_name(f"{engine.name}.json")


def read_engine_manifest(engine: Path) -> EngineManifest:
    """What an engine file says about itself. Raises UserError where the file or what describes it is missing."""
    if not engine.is_file():
        raise UserError(
            "the engine file is missing", where=engine, remedy="check the path, or run 'sdseg export --to tensorrt'"
        )
    path = side_file(engine)
    if not path.is_file():
        raise UserError(
            f"a foreign engine: '{path.name}', which says what it was built for, is not beside it",
            where=engine,
            remedy="give an engine made by 'sdseg export --to tensorrt', and copy its .json file along with it",
        )
    manifest = read_json(path, EngineManifest)
    if manifest.kind != "sdseg-engine":
        raise UserError(f"this describes a '{manifest.kind}', not an engine", where=path, remedy="make the engine anew")
    return manifest


def misfits(
    manifest: EngineManifest, here: EngineMachine, engine_checksum: str, graph_checksum: str | None
) -> list[str]:
    """Why an engine cannot run here, one line for each of version, GPU and checksum that differs.

    `graph_checksum` is that of the ONNX file beside the engine, None where there is none to compare with.
    """
    differences = []
    if here.tensorrt != manifest.tensorrt:
        differences.append(f"version: built by TensorRT {manifest.tensorrt}, here is {here.tensorrt}")
    built_for, capability = manifest.compute_capability, here.compute_capability
    origin = f"GPU: built on {manifest.gpu} (compute capability {built_for})"
    if manifest.options.hardware == "ampere-plus":
        if _number(capability) < 8.0:
            differences.append(f"{origin} for Ampere and newer, here is {here.gpu} ({capability})")
    elif capability != built_for or (manifest.options.hardware == "this-gpu" and here.gpu != manifest.gpu):
        differences.append(f"{origin}, here is {here.gpu} ({capability})")
    if engine_checksum != manifest.engine_checksum:
        differences.append("checksum: the engine file is not the one that was built; it is truncated or was replaced")
    if graph_checksum is not None and graph_checksum != manifest.graph_checksum:
        differences.append(f"checksum: {manifest.graph_file} beside it is not the graph it was built from")
    return differences


def check_fits(engine: Path, manifest: EngineManifest, here: EngineMachine) -> None:
    """Raise ListedError unless the engine was built for this machine, from the graph beside it."""
    graph = engine.with_name(manifest.graph_file)
    beside = graph_checksum(graph) if graph.is_file() else None
    problems = misfits(manifest, here, sha256_file(engine), beside)
    if problems:
        raise refused_engine(engine, manifest, problems)


def refused_engine(engine: Path, manifest: EngineManifest, problems: Sequence[str]) -> ListedError:
    """The error for an engine that cannot run here, with the command that builds it anew."""
    return ListedError(
        "the engine does not fit this machine:" if problems else "TensorRT refuses the engine and does not say why",
        problems,
        where=engine,
        remedy=f"build it here: {rebuild_command(engine, manifest)}",
    )


def rebuild_command(engine: Path, manifest: EngineManifest) -> str:
    """The command that builds this engine anew on another machine; what it cannot know stands in capitals."""
    options = manifest.options
    batches = options.batches
    results = engine.parent.parent
    words = ["sdseg", "export", "--to", "tensorrt"]
    words += ["--model", _known(results / "model", "MODEL")]
    words += ["--graph", _known(engine.with_name(manifest.graph_file), manifest.graph_file)]
    words += ["--prepared", _known(results.parent / "prepared", "PREPARED"), "--output", str(engine.parent)]
    words += ["--batches", f"{batches.min},{batches.opt},{batches.max}", "--level", str(options.level)]
    if options.hardware != "this-gpu":
        words += ["--hardware", options.hardware]
    if options.workspace_gb is not None:
        words += ["--workspace-gb", f"{options.workspace_gb:g}"]
    if options.tf32:
        words.append("--tf32")
    return shlex.join(words)


def _known(path: Path, otherwise: str) -> str:
    return str(path) if path.exists() else otherwise


def _number(capability: str) -> float:
    major, _, minor = capability.partition(".")
    return int(major) + int(minor or 0) / 10


Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # smallest, most frequent, largest


UNTOLD = "unknown"


# The inspector names types in words, which differ between versions and kernels: "Half", "Row major linear FP16 format".
TYPES = (
    ("bf16", r"bf16|bfloat16"),
    ("fp16", r"fp16|half"),
    ("fp8", r"fp8"),
    ("fp32", r"fp32|float"),
    ("int64", r"int64"),
    ("int32", r"int32"),
    ("uint8", r"uint8"),
    ("int8", r"int8"),
    ("bool", r"bool"),
)


def batch_shapes(ports: Sequence[GraphPort], batches: Batches) -> dict[str, Shapes]:
    """The optimisation profile: smallest, most frequent and largest shape of every input."""

    def filled(port: GraphPort, batch: int) -> tuple[int, ...]:
        return tuple(axis if isinstance(axis, int) else batch for axis in port.axes)

    return {
        port.name: (filled(port, batches.min), filled(port, batches.opt), filled(port, batches.max)) for port in ports
    }


def layer_precisions(text: str) -> dict[str, int]:
    """How many layers of an engine compute in which type: that of the first output, from the inspector's JSON.

    TensorRT 11 gives the type as `DataType`, earlier ones in the words of `Format/Datatype`. An engine built without
    detailed verbosity gives names alone: those count as unknown.
    """
    layers = json.loads(text).get("Layers", [])
    return dict(sorted(Counter(_type_of(layer) for layer in layers).items()))


def precision_problem(precision: str, layers: dict[str, int]) -> str | None:
    """What is wrong with an engine's layers: asked for half precision and built in single, which no flag would tell."""
    if not layers or set(layers) == {UNTOLD} or layers.get(precision):
        return None
    layer_list = ", ".join(f"{count} {name}" for name, count in layers.items())
    return f"precision: {precision} was asked for, and no layer computes in it ({layer_list})"


def _type_of(layer: Any) -> str:
    outputs = layer.get("Outputs") if isinstance(layer, dict) else None
    if not outputs:
        return UNTOLD
    words = str(outputs[0].get("DataType") or outputs[0].get("Format/Datatype") or outputs[0].get("Format") or "")
    return next((name for name, pattern in TYPES if re.search(pattern, words, re.IGNORECASE)), UNTOLD)
