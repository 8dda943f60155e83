"""Exported graph to a TensorRT engine, which is kept only if it computes what the model computes on real cases."""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sdseg.artifacts.manifests import EngineMachine, EngineManifest, GraphManifest
from sdseg.artifacts.results.parity import Parity
from sdseg.backends.graph_checksum import graph_checksum
from sdseg.backends.graph_precision import read_graph
from sdseg.backends.tensorrt_engine import engine_file, precision_problem, side_file
from sdseg.backends.tensorrt_support import require_tensorrt
from sdseg.config.export import EngineOptions, Export, Precision
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import make_folder, sha256_file, write_json
from sdseg.core.locks import locked
from sdseg.core.provenance import provenance
from sdseg.export.parity import ParityGate, open_gate, refusal

__all__ = ["EngineSource", "check_precision", "export_engine", "gate_of"]

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
    from sdseg.export.tensorrt_build import build

    here = this_machine()
    graph, precision = read_graph(source.graph)
    check_precision(precision, source.graph)
    gate = gate_of(source, graph, settings)
    gate.check_same_model(graph, source.graph)
    make_folder(output)

    # 2. Build, in a folder beside the final place: a broken-off build leaves nothing there.
    final = output / engine_file(precision)
    with locked(final), tempfile.TemporaryDirectory(prefix=f".{final.name}.", suffix=".part", dir=output) as place:
        log.info("TensorRT %s builds a %s engine on %s; this takes minutes", version, precision, here.gpu)
        built = build(source.graph, graph.inputs, options, timing_cache)
        engine = Path(place) / final.name
        engine.write_bytes(built.plan)
        manifest = _describe(engine, source, graph, precision, options, here, built.seconds)
        write_json(side_file(engine), manifest)

        # 3. Run model and engine on the same real images, and look at what the layers compute in.
        backend = TensorrtBackend(engine)
        layers = backend.layers()
        log.info("layers: %s", ", ".join(f"{count} {name}" for name, count in layers.items()))
        parity = gate.judge(backend, precision, device="cuda")

        # 4. Keep it, or refuse it.
        _check_built(parity, precision_problem(precision, layers), final)
        side_file(final).unlink(missing_ok=True)  # never an engine beside the description of another
        os.replace(engine, final)
        write_json(side_file(final), manifest.model_copy(update={"layers": layers, "parity": parity.content()}))
    log.info("%s: %.1f MB, %.0f s", final.name, final.stat().st_size / 1e6, built.seconds)
    return final


def gate_of(source: EngineSource, graph: GraphManifest, settings: Export) -> ParityGate:
    """The gate of the model a graph came from: it draws as many hypotheses, and compares them where the graph has them.

    Of `settings` the rest counts.
    """
    given = any(port.name == "hypotheses" for port in graph.outputs)
    gate = open_gate(source.model, source.prepared, settings.model_copy(update={"hypotheses": given}))
    noise, own = next((port.axes for port in graph.inputs if port.name == "noise"), None), gate.segmenter.noise_shape
    if noise is None or own is None or noise[1] == own[0]:
        return gate
    count = int(noise[1]) * gate.manifest.recipe["inference"]["samples"] // own[0]
    return open_gate(source.model, source.prepared, settings.model_copy(update={"hypotheses": count}))


def check_precision(precision: Precision, graph: Path) -> None:
    """Raise UserError for a graph that was quantised for CPUs: TensorRT takes signed bytes without zero point."""
    if precision.startswith("int8"):
        raise UserError(
            f"the {precision} graph is made for CPUs: TensorRT does not take its 8-bit numbers",
            where=graph,
            remedy="build the engine from the fp16 graph (export --precisions fp16, then --graph …/model.fp16.onnx)",
        )


def _describe(
    engine: Path,
    source: EngineSource,
    graph: GraphManifest,
    precision: Precision,
    options: EngineOptions,
    here: EngineMachine,
    seconds: float,
) -> EngineManifest:
    """What is known of an engine before it has run: its layers and its parity come later."""
    return EngineManifest(
        engine_checksum=sha256_file(engine),
        tensorrt=here.tensorrt,
        gpu=here.gpu,
        compute_capability=here.compute_capability,
        precision=precision,
        options=EngineOptions.model_validate({key: getattr(options, key) for key in EngineOptions.model_fields}),
        graph_file=source.graph.name,
        graph_checksum=graph_checksum(source.graph),
        graph=graph,
        layers={},
        seconds=round(seconds, 1),
        parity=None,
        provenance=provenance(("torch", "onnx", "tensorrt-cu13"), stage="export.tensorrt"),
    )


def _check_built(parity: Parity, problem: str | None, final: Path) -> None:
    """Raise ListedError, and remove an earlier engine, for one in another precision or with other answers."""
    if problem is None and parity.passed:
        return
    for path in (final, side_file(final)):
        path.unlink(missing_ok=True)
    if problem is not None:
        raise ListedError("the engine is not what was asked for:", [problem], where=final, remedy=REMEDY)
    raise refusal(parity, "engine", final, REMEDY)
