"""What servers run: a TensorRT engine built from an exported graph, and a Triton model repository of both."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sdseg.artifacts.manifests import EngineManifest, GraphManifest, model_checksum
from sdseg.backends.tensorrt_engine import (
    engine_file,
    graph_checksum,
    precision_problem,
    read_engine_manifest,
    read_graph,
    side_file,
)
from sdseg.backends.tensorrt_support import require_tensorrt
from sdseg.config.export import EngineOptions, Export, Precision
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import make_folder, sha256_file, write_json, write_text
from sdseg.core.leftovers import remove_leftovers
from sdseg.core.locks import locked
from sdseg.core.provenance import provenance
from sdseg.gate import Gate, open_gate, refusal
from sdseg.runtime.triton import Platform, Variant, config_text, model_name

__all__ = ["EngineSource", "check_precision", "export_engine", "export_triton"]

log = logging.getLogger(__name__)

REMEDY = "no engine was kept; try another precision or --level, and see the layers in the log with --verbose"


@dataclass(frozen=True)
class EngineSource:
    """What an engine is built from and compared with."""

    model: Path  # model folder
    graph: Path  # the ONNX graph exported from it
    prepared: Path  # slice store whose test cases are compared


def export_engine(
    source: EngineSource, output: Path, options: EngineOptions, settings: Export, timing_cache: Path | None = None
) -> Path:
    """Write `output`/model.<precision>.engine and the .json that describes it; return the engine's path.

    The precision is the graph's own: TensorRT 11 computes in the types a graph is written in. Raises UserError where
    TensorRT or a GPU is missing, or graph and model are not of one kind, ListedError where TensorRT fails or the engine
    differs from the model by more than the tolerances: then an earlier engine is removed as well.
    """
    # 1. What is needed, before anything takes long.
    version = require_tensorrt()
    from sdseg.backends.tensorrt import TensorrtBackend, this_machine
    from sdseg.runtime.tensorrt_build import build

    here = this_machine()
    described, precision = read_graph(source.graph)
    check_precision(precision, source.graph)
    gate = open_gate(source.model, source.prepared, settings)
    _check_same_model(gate, described, source.graph)
    make_folder(output)

    # 2. Build, in a folder beside the final place: a broken-off build leaves nothing there.
    final = output / engine_file(precision)
    with locked(final), tempfile.TemporaryDirectory(prefix=f".{final.name}.", suffix=".part", dir=output) as place:
        log.info("TensorRT %s builds a %s engine on %s; this takes minutes", version, precision, here.gpu)
        built = build(source.graph, described.inputs, options, timing_cache)
        engine = Path(place) / final.name
        engine.write_bytes(built.plan)
        manifest = EngineManifest(
            engine_checksum=sha256_file(engine),
            tensorrt=here.tensorrt,
            gpu=here.gpu,
            compute_capability=here.compute_capability,
            precision=precision,
            options=EngineOptions.model_validate({key: getattr(options, key) for key in EngineOptions.model_fields}),
            graph_file=source.graph.name,
            graph_checksum=graph_checksum(source.graph),
            graph=described,
            layers={},
            seconds=round(built.seconds, 1),
            parity=None,
            provenance=provenance(("torch", "onnx", "tensorrt-cu13"), stage="deployment"),
        )
        write_json(side_file(engine), manifest)

        # 3. Run model and engine on the same real images, and look at what the layers compute in.
        backend = TensorrtBackend(engine)
        layers = backend.layers()
        log.info("layers: %s", ", ".join(f"{count} {name}" for name, count in layers.items()))
        parity = gate.judge(backend, precision, device="cuda")

        # 4. Keep it, or refuse it.
        problem = precision_problem(precision, layers)
        if problem is not None or not parity.passed:
            for path in (final, side_file(final)):
                path.unlink(missing_ok=True)
        if problem is not None:
            raise ListedError("the engine is not what was asked for:", [problem], where=final, remedy=REMEDY)
        if not parity.passed:
            raise refusal(parity, "engine", final, REMEDY)
        side_file(final).unlink(missing_ok=True)  # never an engine beside the description of another
        os.replace(engine, final)
        write_json(side_file(final), manifest.model_copy(update={"layers": layers, "parity": parity.record()}))
    log.info("%s: %.1f MB, %.0f s", final.name, final.stat().st_size / 1e6, built.seconds)
    return final


def check_precision(precision: Precision, graph: Path) -> None:
    """Raise UserError for a graph that was quantised for CPUs: TensorRT takes signed bytes without zero point."""
    if precision == "int8":
        raise UserError(
            "the int8 graph is made for CPUs: TensorRT does not take its unsigned activations with zero points",
            where=graph,
            remedy="build the engine from the fp16 graph (export --precisions fp16, then --graph …/model.fp16.onnx)",
        )


def export_triton(exported: Path, output: Path, max_batch: int = 8, *, gpu: bool = True) -> list[Path]:
    """Every graph and engine of an export folder as models of a Triton repository; return the version folders.

    `exported` may also be the results folder whose export/ it is.
    A model that the repository holds already gets a new version, one number higher, if it takes and gives the same.
    `max_batch` is for graphs; an engine's is its own largest. Raises UserError where there is nothing to serve, an
    engine cannot take single images, or the repository holds another model of the same name.
    """
    if max_batch < 1:
        raise UserError(f"a batch of {max_batch} images", where="--max-batch", remedy="give 1 or more")
    folders = (exported, exported / "export")
    variants = next((found for each in folders if (found := list(_variants(each, max_batch, gpu=gpu)))), [])
    if not variants:
        raise UserError("no graph and no engine in this folder", where=exported, remedy="run 'sdseg export' first")
    make_folder(output)
    versions = []
    with locked(output, inside=True):
        for variant, file in variants:
            versions.append(_add_version(output / variant.name, variant, file))
            log.info("%s: %s, up to %d images at a time, in %s", variant.name, file, variant.max_batch, versions[-1])
    return versions


def _variants(exported: Path, max_batch: int, *, gpu: bool) -> Iterator[tuple[Variant, Path]]:
    for path in sorted(exported.glob("*.onnx")):
        graph, precision = read_graph(path)
        platform: Platform = "onnxruntime_onnx"
        yield Variant(model_name(graph, precision, platform), platform, graph, max_batch, gpu), path
    for path in sorted(exported.glob("*.engine")):
        engine = read_engine_manifest(path)
        batches = engine.options.batches
        if batches.min > 1:
            raise UserError(
                f"the engine takes no batch below {batches.min}, and Triton's requests may hold one image",
                where=path,
                remedy="build it with --batches 1,…",
            )
        name = model_name(engine.graph, engine.precision, "tensorrt_plan")
        yield Variant(name, "tensorrt_plan", engine.graph, batches.max, True), path


def _add_version(folder: Path, variant: Variant, file: Path) -> Path:
    """Write config.pbtxt and the next version folder; a server that polls sees a version complete or not at all."""
    config, text = folder / "config.pbtxt", config_text(variant)
    versions = [int(each.name) for each in folder.iterdir() if each.name.isdigit()] if folder.is_dir() else []
    if config.is_file() and _ports_of(config.read_text(encoding="utf-8")) != _ports_of(text):
        raise UserError(
            "the repository holds a model of this name with other inputs or outputs: its clients would break",
            where=config,
            remedy="name another --output, or remove that model first",
        )
    make_folder(folder)
    version = folder / str(max(versions, default=0) + 1)
    remove_leftovers(version)
    with tempfile.TemporaryDirectory(prefix=f".{version.name}.", suffix=".part", dir=folder) as place:
        ready = Path(place) / version.name
        ready.mkdir()
        shutil.copyfile(file, ready / variant.file)
        weights = file.with_name(f"{file.name}.data")
        if weights.is_file():  # its name is written in the graph
            shutil.copyfile(weights, ready / weights.name)
        write_text(config, text)
        os.replace(ready, version)
    return version


def _ports_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if "data_type:" in line]


def _check_same_model(gate: Gate, described: GraphManifest, graph: Path) -> None:
    """The graph was exported from this very model: otherwise the gate would compare two different ones."""
    recorded = described.provenance.get("model_checksum")
    if recorded != model_checksum(gate.manifest):
        raise UserError(
            "the graph was not exported from this model",
            where=graph,
            remedy="export the model again, or name the model folder the graph came from",
        )
