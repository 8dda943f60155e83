"""OpenVINO as a backend: an exported graph on the CPU, in the precision that was asked for."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdseg.artifacts.manifests import GraphManifest
from sdseg.backends.base import Seeded
from sdseg.backends.graph import (
    FoundPort,
    GraphHypotheses,
    check_ports,
    chosen_by,
    default_threads,
    feed_of,
    run_failed,
    unusable,
)
from sdseg.backends.graph_checksum import open_manifest
from sdseg.backends.openvino_cache import cached_model
from sdseg.backends.openvino_graph import WAY, openvino_model
from sdseg.backends.openvino_support import (
    Arithmetic,
    compile_properties,
    computes_in_bf16,
    integer_properties,
    load_openvino,
    openvino_core,
)
from sdseg.core.array_types import AnyArray, FloatArray
from sdseg.core.errors import UserError

__all__ = ["OpenvinoBackend"]

log = logging.getLogger(__name__)

TYPES = {"u8": "uint8", "f32": "float32"}


class OpenvinoBackend(GraphHypotheses, Seeded):
    """A graph made by `sdseg export`, run by OpenVINO's own runtime on the CPU.

    Parameters
    ----------
    path: the graph; its external data, if any, beside it.
    seed: of the noise, for graphs with an input `noise`.
    threads: CPU threads of one call; default OMP_NUM_THREADS, otherwise as many as OpenVINO thinks best.
    arithmetic: 'f32' computes what is float in single precision, whatever the processor could do faster; 'bf16' lets
        it round to bfloat16 where that is faster (AMX, AVX512-BF16). What a graph has in 8-bit integers stays so, but
        for graphs of earlier versions on a processor without VNNI, where OpenVINO's sums of such bytes are wrong: there
        it is computed in single precision, and a warning says so.

    Several threads may call one backend; each call has an infer request to itself. What OpenVINO compiled is kept in
    the cache folder for graphs that are large. Raises UserError where OpenVINO is missing, the processor has no
    bfloat16 and it was asked for, and for a file that cannot be run or is not what it says it is.
    """

    def __init__(self, path: Path, seed: int = 0, threads: int | None = None, arithmetic: Arithmetic = "f32") -> None:
        self.name = "openvino" if arithmetic == "f32" else f"openvino-{arithmetic}"
        self.path = path
        self.threads = default_threads() if threads is None else threads  # 0: OpenVINO's choice
        self.manifest = open_manifest(path)
        self._seed = seed
        self._compiled = _compile(path, arithmetic, self.threads, self.manifest)
        declared = {port.name for port in (*self.manifest.inputs, *self.manifest.outputs)}
        inputs, outputs = (_ports(ports, declared) for ports in (self._compiled.inputs, self._compiled.outputs))
        check_ports(self.manifest, inputs, outputs, path)
        self._idle: deque[Any] = deque()  # infer requests that no call is using

    def run_graph(self, outputs: Sequence[str], fed: AnyArray) -> list[FloatArray]:
        feed, count = feed_of(self.manifest, fed, self._seed), len(fed)
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            # Inputs are read where they lie; answers are copies, as the request's own memory is used again.
            outcome = request.infer(feed, share_inputs=True)
            answers = [np.asarray(outcome[output], dtype=np.float32) for output in outputs]
        except RuntimeError as error:
            raise run_failed("OpenVINO", count, _reason(error), self.path) from error
        self._idle.append(request)
        return answers


def _compile(path: Path, arithmetic: Arithmetic, threads: int, manifest: GraphManifest) -> Any:
    """The graph as OpenVINO runs it, from an earlier start where there is one."""
    openvino = load_openvino()
    core = openvino_core()
    if arithmetic == "bf16" and not computes_in_bf16():
        raise UserError(
            "this processor does not compute in bfloat16",
            where=chosen_by("openvino-bf16"),
            remedy="use openvino instead: it is exact",
        )
    properties, exact = compile_properties(arithmetic, threads, manifest), integer_properties(manifest)
    if exact:
        log.warning(
            "%s: computed in single precision, as a graph of an earlier version, whose 8-bit products OpenVINO adds up "
            "wrongly on a processor without VNNI; export the model again, or use --device cpu: it computes in 8 bits",
            path.name,
        )

    def compiled() -> Any:
        try:
            return core.compile_model(openvino_model(path, arithmetic), "CPU", properties)
        except RuntimeError as error:
            raise unusable(_reason(error), path) from None

    settings = (openvino.__version__, WAY, arithmetic, str(threads), *exact)
    return cached_model(path, settings, compiled, lambda kept: core.import_model(kept, "CPU", properties))


def _ports(outlets: list[Any], declared: set[str]) -> list[FoundPort]:
    """OpenVINO drops casts and so joins values: a port may have several names."""
    return [
        FoundPort(
            min(port.get_names() & declared, default=port.get_any_name()),
            TYPES.get(port.element_type.get_type_name(), port.element_type.get_type_name()),
            tuple(None if axis.is_dynamic else axis.get_length() for axis in port.partial_shape),
        )
        for port in outlets
    ]


def _reason(error: RuntimeError) -> str:
    """The line of an error of OpenVINO's that says something: the others name places in its source."""
    lines = [line.strip() for line in str(error).splitlines()]
    reasons = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return (reasons or lines or [type(error).__name__])[0]
