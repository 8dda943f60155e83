"""An ONNX graph to a TensorRT engine, strongly typed: layers compute in the types the graph is written in.

Imports TensorRT: import this module inside a function, after `require_tensorrt`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorrt as trt

from sdseg.artifacts.manifests import GraphPort
from sdseg.backends.tensorrt_engine import batch_shapes
from sdseg.backends.tensorrt_log import BuildProgress, LogLines
from sdseg.config.export import EngineOptions, Hardware
from sdseg.core.errors import ListedError
from sdseg.core.files import atomic_file

__all__ = ["BuiltEngine", "build"]

log = logging.getLogger(__name__)

HARDWARE: dict[Hardware, trt.HardwareCompatibilityLevel] = {
    "this-gpu": trt.HardwareCompatibilityLevel.NONE,
    "same-compute-capability": trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY,
    "ampere-plus": trt.HardwareCompatibilityLevel.AMPERE_PLUS,
}


@dataclass(frozen=True)
class BuiltEngine:
    """A serialised engine."""

    plan: trt.IHostMemory
    seconds: float


def build(graph: Path, inputs: Sequence[GraphPort], options: EngineOptions, timing_cache: Path | None) -> BuiltEngine:
    """Build the engine of `graph` for the batches of `options`.

    `timing_cache` is read where it is there and fits, and written afterwards. Raises ListedError with TensorRT's own
    lines when the graph cannot be parsed or built; KeyboardInterrupt when the user ended it.
    """
    start, lines = time.monotonic(), LogLines()
    builder = trt.Builder(lines)
    network = builder.create_network()  # always strongly typed in 11
    parser = trt.OnnxParser(network, lines)
    if not parser.parse_from_file(str(graph)):  # by path: weights may lie in a file beside it
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise _failed("TensorRT cannot read the graph:", errors or lines.problems(), graph)
    config, progress = _configure(builder, options), BuildProgress()
    config.progress_monitor = progress
    profile = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in batch_shapes(inputs, options.batches).items():
        profile.set_shape(name, smallest, usual, largest)
    if config.add_optimization_profile(profile) < 0:
        raise _failed("TensorRT refuses the optimisation profile:", lines.problems(), graph)
    if timing_cache is not None:
        _use_cache(config, timing_cache)
    plan = builder.build_serialized_network(network, config)
    if progress.interrupted:
        raise KeyboardInterrupt
    if plan is None:
        raise _failed("TensorRT cannot build the engine:", lines.problems(), graph)
    if timing_cache is not None:
        with atomic_file(timing_cache) as temporary:
            temporary.write_bytes(config.get_timing_cache().serialize())
    return BuiltEngine(plan, time.monotonic() - start)


def _configure(builder: trt.Builder, options: EngineOptions) -> trt.IBuilderConfig:
    config = builder.create_builder_config()
    config.builder_optimization_level = options.level
    config.hardware_compatibility_level = HARDWARE[options.hardware]
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or the inspector tells nothing of types
    if options.workspace_gb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(options.workspace_gb * 2**30))
    if options.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)  # TensorRT sets it
    return config


def _use_cache(config: trt.IBuilderConfig, path: Path) -> None:
    """Timings of an earlier build; an empty cache where there is none, or where it comes from another machine."""
    timings = path.read_bytes() if path.is_file() else b""
    if timings and not config.set_timing_cache(config.create_timing_cache(timings), False):
        log.warning("%s was made by another version or on another GPU: it is measured anew and replaced", path)
        timings = b""
    if not timings:
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _failed(what: str, lines: Sequence[str], graph: Path) -> ListedError:
    return ListedError(
        what,
        lines or ("(it logged nothing)",),
        where=graph,
        remedy="its lines above name the layer or the memory; a smaller batch, another --opset or precision may help",
    )
