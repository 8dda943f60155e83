"""What lies beside an engine, `<engine>.json`: where it was built and from what, and whether it fits this machine."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from sdseg.artifacts.manifests import EngineManifest, Machine
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import read_json, sha256_file
from sdseg.runtime.tensorrt_graph import graph_checksum

__all__ = [
    "check_fits",
    "engine_file",
    "misfits",
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


def misfits(manifest: EngineManifest, here: Machine, engine_checksum: str, graph_checksum: str | None) -> list[str]:
    """Why an engine cannot run here, one line for each of version, GPU and checksum that differs.

    `graph_checksum` is that of the ONNX file beside the engine, None where there is none to compare with.
    """
    found = []
    if here.tensorrt != manifest.tensorrt:
        found.append(f"version: built by TensorRT {manifest.tensorrt}, here is {here.tensorrt}")
    wanted, capability = manifest.compute_capability, here.compute_capability
    built = f"GPU: built on {manifest.gpu} (compute capability {wanted})"
    if manifest.options.hardware == "ampere-plus":
        if _number(capability) < 8.0:
            found.append(f"{built} for Ampere and newer, here is {here.gpu} ({capability})")
    elif capability != wanted or (manifest.options.hardware == "this-gpu" and here.gpu != manifest.gpu):
        found.append(f"{built}, here is {here.gpu} ({capability})")
    if engine_checksum != manifest.engine_checksum:
        found.append("checksum: the engine file is not the one that was built; it is truncated or was replaced")
    if graph_checksum is not None and graph_checksum != manifest.graph_checksum:
        found.append(f"checksum: {manifest.graph_file} beside it is not the graph it was built from")
    return found


def check_fits(engine: Path, manifest: EngineManifest, here: Machine) -> None:
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
