"""An ONNX Runtime session on the wanted provider, checked against what the file says about itself."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from typing import Any

from sdseg.artifacts import GraphManifest, GraphPort, parse_json
from sdseg.errors import UserError
from sdseg.runtime.onnx_cache import cache_folder, cached_session
from sdseg.runtime.onnx_graph import METADATA_KEY

__all__ = ["FOREIGN", "cannot_run", "check_graph", "default_threads", "failure_of", "open_session"]

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
# They share a module folder: of two that are installed, one hides the other's providers.
PACKAGES = {"cpu": "onnxruntime", "cuda": "onnxruntime-gpu", "openvino": "onnxruntime-openvino"}
FOREIGN = "give a graph made by 'sdseg export'"


def open_session(path: Path, provider: str, threads: int, *, cuda_graph: bool = False) -> Any:
    """A session on 'cpu', 'cuda' or 'openvino' with `threads` CPU threads (0: one per core).

    `cuda_graph` records the kernels of each batch size once and replays them; the caller binds inputs and outputs.
    Raises UserError for a provider that is not there or not used, and for a file that cannot be run.
    """
    import onnxruntime

    if not path.is_file():
        raise UserError("the ONNX file is missing", where=path, remedy="check the path, or run 'sdseg export'")
    wanted = _available(provider)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # failures are raised below, once, with the file's name
    options.intra_op_num_threads = threads
    given = {"enable_cuda_graph": "1"} if cuda_graph and provider == "cuda" else {}
    if provider == "openvino":
        given = {"device_type": "CPU", "cache_dir": str(cache_folder() / "openvino")}

    def opened(file: Path, options: Any) -> Any:
        try:
            return onnxruntime.InferenceSession(str(file), options, providers=[(wanted, given)])
        except Exception as error:
            reason = failure_of(error)
            if reason is None:
                raise
            raise UserError(
                f"not an ONNX graph that can be run: {reason}",
                where=path,
                remedy="it is truncated, foreign, or lacks its '.data' file: copy it again, or run 'sdseg export'",
            ) from None

    # What OpenVINO compiles is no ONNX graph any more; it keeps a cache of its own.
    keep = provider != "openvino"
    session = (
        cached_session(path, provider, onnxruntime.__version__, opened, options) if keep else opened(path, options)
    )
    if session.get_providers()[:1] != [wanted]:
        raise UserError(
            f"ONNX Runtime fell back to {', '.join(session.get_providers())} instead of {wanted}",
            where=path,
            remedy="check the GPU driver and the CUDA libraries ('sdseg doctor' tells more), or use --device cpu",
        )
    return session


def cannot_run(provider: str, precision: str) -> str | None:
    """Why ONNX Runtime's provider cannot compute a graph of this precision; None where it can."""
    if precision == "bf16" and provider == "cpu":
        return "ONNX Runtime has no bf16 convolution for CPUs"
    return None


def _available(provider: str) -> str:
    """ONNX Runtime's name of a provider. Raises UserError where it is not installed, or may be hidden."""
    import onnxruntime

    installed = [package for package in PACKAGES.values() if _installed(package)]
    if len(installed) > 1:
        raise UserError(
            f"{' and '.join(installed)} are installed together: one hides the other's providers",
            where="the Python environment",
            remedy=f"pip uninstall --yes {' '.join(installed)}, then install the one you want",
        )
    wanted, available = PROVIDERS.get(provider, provider), onnxruntime.get_available_providers()
    if wanted not in available:
        package = PACKAGES.get(provider, "a build of onnxruntime that has it")
        raise UserError(
            f"ONNX Runtime cannot run on '{provider}': {wanted} is not among its providers ({', '.join(available)})",
            where="--device",
            remedy=f"use --device cpu, or install {package} in place of onnxruntime ('sdseg doctor' tells more)",
        )
    return wanted


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def check_graph(session: Any, path: Path) -> GraphManifest:
    """What the graph says about itself. Raises UserError where it says nothing, or has other ports than it says."""
    manifest = _manifest(session, path)
    _check_ports(session.get_inputs(), manifest.inputs, "input", path)
    _check_ports(session.get_outputs(), manifest.outputs, "output", path)
    return manifest


def failure_of(error: Exception) -> str | None:
    """First line of an error of ONNX Runtime's, None for any other: they share no base class, only their module."""
    if not type(error).__module__.startswith("onnxruntime."):
        return None
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def default_threads() -> int:
    """OMP_NUM_THREADS as PyTorch heeds it; 0 lets ONNX Runtime take one thread per core."""
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(text) if text.isdigit() else 0


def _manifest(session: Any, path: Path) -> GraphManifest:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise UserError(
            "a foreign ONNX file: it does not say which images it wants and what it finds", where=path, remedy=FOREIGN
        )
    manifest = parse_json(text, GraphManifest, where=path)
    if manifest.kind != "sdseg-graph":
        raise UserError(f"this is a '{manifest.kind}', not a segmenter's graph", where=path, remedy=FOREIGN)
    return manifest


def _check_ports(found: list[Any], declared: tuple[GraphPort, ...], kind: str, path: Path) -> None:
    """The graph's own ports are the ones its manifest declares: names, number types, axes."""
    types = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
    extra = sorted({port.name for port in found} - {wanted.name for wanted in declared})
    if extra:
        raise UserError(f"the graph has an {kind} '{extra[0]}' that it does not declare", where=path, remedy=FOREIGN)
    for wanted in declared:
        port = next((port for port in found if port.name == wanted.name), None)
        if port is None:
            names = ", ".join(port.name for port in found)
            raise UserError(f"the graph has no {kind} '{wanted.name}' (it has: {names})", where=path, remedy=FOREIGN)
        # A dynamic axis has a name, whatever it is; a fixed one has its length.
        sizes = [axis if isinstance(axis, int) else None for axis in port.shape]
        if types.get(port.type) != wanted.dtype or sizes != [a if isinstance(a, int) else None for a in wanted.axes]:
            raise UserError(
                f"{kind} '{port.name}' is {port.shape} of {port.type}; expected {list(wanted.axes)} of {wanted.dtype}",
                where=path,
                remedy=FOREIGN,
            )
