"""An ONNX Runtime session on the wanted provider, checked against what the file says about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdseg.artifacts.manifests import GraphManifest
from sdseg.core.errors import UserError
from sdseg.core.provenance import version_of
from sdseg.runtime.graphs import FoundPort, check_ports, missing_graph, unusable
from sdseg.runtime.onnx_cache import cached_session

__all__ = ["PACKAGES", "check_session", "failure_of", "open_session"]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# Builds of ONNX Runtime. They share a module folder: of two that are installed, one hides the other's providers.
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


def open_session(path: Path, provider: str, threads: int, *, cuda_graph: bool = False) -> Any:
    """A session on 'cpu' or 'cuda' with `threads` CPU threads (0: one per core).

    `cuda_graph` records the kernels of each batch size once and replays them; the caller binds inputs and outputs.
    Raises UserError for a provider that is not there or not used, and for a file that cannot be run.
    """
    import onnxruntime

    if not path.is_file():
        raise missing_graph(path)
    wanted = _available(provider)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # failures are raised below, once, with the file's name
    options.intra_op_num_threads = threads
    given = {"enable_cuda_graph": "1"} if cuda_graph and provider == "cuda" else {}

    def opened(file: Path, options: Any) -> Any:
        try:
            return onnxruntime.InferenceSession(str(file), options, providers=[(wanted, given)])
        except Exception as error:
            reason = failure_of(error)
            if reason is None:
                raise
            raise unusable(reason, path) from None

    session = cached_session(path, provider, onnxruntime.__version__, opened, options)
    if session.get_providers()[:1] != [wanted]:
        raise UserError(
            f"ONNX Runtime fell back to {', '.join(session.get_providers())} instead of {wanted}",
            where=path,
            remedy="check the GPU driver and the CUDA libraries ('sdseg doctor' tells more), or use --device cpu",
        )
    return session


def check_session(session: Any, manifest: GraphManifest, path: Path) -> None:
    """Raise UserError where the graph has other inputs or outputs than it says."""
    check_ports(manifest, _ports(session.get_inputs()), _ports(session.get_outputs()), path)


def failure_of(error: Exception) -> str | None:
    """First line of an error of ONNX Runtime's, None for any other: they share no base class, only their module."""
    if not type(error).__module__.startswith("onnxruntime."):
        return None
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


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
    wanted, available = PROVIDERS[provider], onnxruntime.get_available_providers()
    if wanted not in available:
        package = "onnxruntime-gpu" if provider == "cuda" else "onnxruntime"
        raise UserError(
            f"ONNX Runtime cannot run on '{provider}': {wanted} is not among its providers ({', '.join(available)})",
            where="--device",
            remedy=f"use --device cpu, or install {package} in place of {' '.join(installed) or 'what is installed'} "
            "('sdseg doctor' tells more)",
        )
    return wanted


def _ports(found: list[Any]) -> list[FoundPort]:
    return [
        FoundPort(
            port.name,
            TYPES.get(port.type, port.type),
            tuple(axis if isinstance(axis, int) else None for axis in port.shape),
        )
        for port in found
    ]
