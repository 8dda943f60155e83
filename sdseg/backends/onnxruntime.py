"""ONNX Runtime as a backend: an exported graph on the wanted provider, or an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from sdseg.artifacts.manifests import GraphManifest
from sdseg.backends.base import Seeded
from sdseg.backends.exact_sums import needs_exact_sums
from sdseg.backends.graph import (
    FoundPort,
    GraphHypotheses,
    check_ports,
    chosen_by,
    default_threads,
    feed_of,
    missing_graph,
    output_shape,
    run_failed,
    unusable,
)
from sdseg.backends.graph_checksum import open_manifest
from sdseg.backends.onnxruntime_cache import cached_session
from sdseg.core.array_types import AnyArray, FloatArray
from sdseg.core.errors import UserError, first_line
from sdseg.core.extras import needing
from sdseg.core.provenance import version_of

__all__ = ["PACKAGES", "BoundSession", "OnnxBackend", "check_session", "failure_of", "open_session", "session_options"]


class OnnxBackend(GraphHypotheses, Seeded):
    """A graph made by `sdseg export`, run by ONNX Runtime on the wanted provider: never on another one.

    Parameters
    ----------
    path: the graph; its external data, if any, beside it.
    provider: 'cpu' or 'cuda'.
    seed: of the noise, for graphs with an input `noise`.
    threads: CPU threads of one call; default OMP_NUM_THREADS, otherwise one per core.
    cuda_graph: on 'cuda', record the kernels of each batch size once and replay them: for few sizes, often repeated.

    Raises UserError for a file that cannot be run, does not describe itself, or is not what it says it is.
    """

    def __init__(
        self,
        path: Path,
        provider: str = "cpu",
        seed: int = 0,
        threads: int | None = None,
        *,
        cuda_graph: bool = False,
    ) -> None:
        self.name = f"onnxruntime-{provider}"
        self.path = path
        self.threads = default_threads() if threads is None else threads  # 0: one per core
        self.manifest = open_manifest(path)
        self._session = open_session(
            path,
            provider,
            self.threads,
            cuda_graph=cuda_graph,
            restore_weights=self.manifest.precision == "int8_weights",
            exact_sums=needs_exact_sums(self.manifest),
        )
        check_session(self._session, self.manifest, path)
        self._bound = BoundSession(self._session, "probability", cuda_graph) if provider == "cuda" else None
        self._seed = seed

    def run_graph(self, outputs: Sequence[str], fed: AnyArray) -> list[FloatArray]:
        feed, count = feed_of(self.manifest, fed, self._seed), len(fed)
        try:
            if self._bound is not None and list(outputs) == ["probability"]:
                return [self._bound.run(feed, output_shape(self.manifest, "probability", count))]
            return [np.asarray(answer, dtype=np.float32) for answer in self._session.run(list(outputs), feed)]
        except Exception as error:
            reason = failure_of(error)
            if reason is None:
                raise
            raise run_failed("ONNX Runtime", count, reason, self.path) from error


PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


# Builds of ONNX Runtime. They share a module folder: of two that are installed, one hides the other's providers.
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")


TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


def open_session(
    path: Path,
    provider: str,
    threads: int,
    *,
    cuda_graph: bool = False,
    restore_weights: bool = False,
    exact_sums: bool = False,
) -> Any:
    """A session on 'cpu' or 'cuda' with `threads` CPU threads (0: one per core).

    `cuda_graph` records the kernels of each batch size once and replays them; the caller binds inputs and outputs.
    `restore_weights` makes single precision of 8-bit weights once, not in every call. `exact_sums` are those of bytes
    where the processor's own do not hold (`needs_exact_sums`): slower, and still in 8 bits.
    Raises UserError for a provider that is not there or not used, and for a file that cannot be run.
    """
    if not path.is_file():
        raise missing_graph(path)
    with needing("running an exported graph"):
        import onnxruntime

    provider_name = _available(provider)
    options = session_options(threads)
    if restore_weights:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if exact_sums:
        options.add_session_config_entry("session.x64quantprecision", "1")
    provider_options = {"enable_cuda_graph": "1"} if cuda_graph and provider == "cuda" else {}

    def opened(file: Path, options: Any) -> Any:
        try:
            return onnxruntime.InferenceSession(str(file), options, providers=[(provider_name, provider_options)])
        except Exception as error:
            reason = failure_of(error)
            if reason is None:
                raise
            raise unusable(reason, path) from None

    version = onnxruntime.__version__ + (" exact" if exact_sums else "")
    session = cached_session(path, provider, version, opened, options)
    if session.get_providers()[:1] != [provider_name]:
        raise UserError(
            f"ONNX Runtime fell back to {', '.join(session.get_providers())} instead of {provider_name}",
            where=path,
            remedy="check the GPU driver and the CUDA libraries ('sdseg doctor' tells more), or use cpu instead",
        )
    return session


def session_options(threads: int) -> Any:
    """Options of a session that says nothing itself, with `threads` CPU threads (0: one per core)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # failures are raised with the file's name, once
    options.intra_op_num_threads = threads
    return options


def check_session(session: Any, manifest: GraphManifest, path: Path) -> None:
    """Raise UserError where the graph has other inputs or outputs than it says."""
    check_ports(manifest, _ports(session.get_inputs()), _ports(session.get_outputs()), path)


def failure_of(error: Exception) -> str | None:
    """First line of an error of ONNX Runtime's, None for any other: they share no base class, only their module."""
    if not type(error).__module__.startswith("onnxruntime."):
        return None
    return first_line(error)


def _available(provider: str) -> str:
    """ONNX Runtime's name of a provider. Raises UserError where it is not installed, or may be hidden."""
    import onnxruntime

    installed = [package for package in PACKAGES if version_of(package)]
    if len(installed) > 1:
        raise UserError(
            f"{' and '.join(installed)} are installed together: one hides the other's providers",
            where="the Python environment",
            remedy=f"pip uninstall --yes {' '.join(installed)}, then install the one you want",
        )
    provider_name, available = PROVIDERS[provider], onnxruntime.get_available_providers()
    if provider_name not in available:
        package = "onnxruntime-gpu" if provider == "cuda" else "onnxruntime"
        raise UserError(
            f"ONNX Runtime cannot run on '{provider}': {provider_name} is not among its providers "
            f"({', '.join(available)})",
            where=chosen_by(provider),
            remedy=f"use cpu instead, or install {package} in place of {' '.join(installed) or 'what is installed'} "
            "('sdseg doctor' tells more)",
        )
    return provider_name


def _ports(arguments: list[Any]) -> list[FoundPort]:
    return [
        FoundPort(
            port.name,
            TYPES.get(port.type, port.type),
            tuple(axis if isinstance(axis, int) else None for axis in port.shape),
        )
        for port in arguments
    ]


@dataclass(frozen=True)
class _Buffers:
    """What the kernels of one batch size read and write."""

    inputs: dict[str, Any]
    output: Any
    binding: Any
    options: Any


class BoundSession:
    """A session whose inputs and output are bound to memory of its own on GPU 0.

    The first call with a batch size allocates; with a CUDA graph it also records the kernels, which later calls of
    that size replay. One call at a time: others wait.
    """

    def __init__(self, session: Any, output: str, cuda_graph: bool) -> None:
        self._session, self._output, self._cuda_graph = session, output, cuda_graph
        self._buffers: dict[tuple[int, ...], _Buffers] = {}
        self._lock = Lock()

    def run(self, feed: Mapping[str, AnyArray], shape: tuple[int, ...]) -> FloatArray:
        """The output, float32 of `shape`, of inputs by name."""
        with self._lock:
            buffers = self._buffers.get(shape)
            if buffers is None:
                buffers = self._buffers[shape] = self._bind(feed, shape)
            for name, value in feed.items():
                buffers.inputs[name].update_inplace(value)
            self._session.run_with_iobinding(buffers.binding, buffers.options)
            probability: FloatArray = buffers.output.numpy()
        return probability

    def _bind(self, feed: Mapping[str, AnyArray], shape: tuple[int, ...]) -> _Buffers:
        import onnxruntime

        value_class = onnxruntime.OrtValue
        inputs = {name: value_class.ortvalue_from_numpy(value, "cuda", 0) for name, value in feed.items()}
        output = value_class.ortvalue_from_shape_and_type(list(shape), np.float32, "cuda", 0)
        binding, options = self._session.io_binding(), onnxruntime.RunOptions()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_output(self._output, output)
        if self._cuda_graph:  # a recording holds addresses and sizes: each batch size has its own, by this number
            options.add_run_config_entry("gpu_graph_id", str(len(self._buffers) + 1))
        return _Buffers(inputs, output, binding, options)
