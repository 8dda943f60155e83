"""Who computes an exported graph: ONNX Runtime or OpenVINO, by the name of a provider."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.backends.openvino import OpenvinoBackend
from sdseg.config.export import Precision
from sdseg.core.errors import UserError, nearest

__all__ = ["PROVIDERS", "GraphBackend", "arithmetic_of", "backend_name", "cannot_run", "open_graph"]

PROVIDERS = ("cpu", "cuda", "openvino", "openvino-bf16")

GraphBackend: TypeAlias = OnnxBackend | OpenvinoBackend


def open_graph(path: Path, provider: str, seed: int = 0) -> GraphBackend:
    """A graph on 'cpu' or 'cuda' (ONNX Runtime), 'openvino' or 'openvino-bf16'. Raises UserError where it cannot be."""
    if provider not in PROVIDERS:
        what = f"unknown device '{provider}', {nearest(provider, PROVIDERS)}"
        raise UserError(what, where=path, remedy=f"use one of {', '.join(PROVIDERS)}")
    if provider == "openvino":
        return OpenvinoBackend(path, seed)
    if provider == "openvino-bf16":
        return OpenvinoBackend(path, seed, arithmetic="bf16")
    return OnnxBackend(path, provider, seed)


def backend_name(provider: str) -> str:
    """The name that the backend of a provider has, before there is one."""
    return provider if provider.startswith("openvino") else f"onnxruntime-{provider}"


def cannot_run(provider: str, precision: Precision) -> str | None:
    """Why a provider cannot compute a graph of this precision; None where it can."""
    if precision == "bf16" and provider == "cpu":
        return "ONNX Runtime has no bf16 convolution for CPUs"
    return None


def arithmetic_of(provider: str, precision: Precision) -> Precision:
    """The precision whose tolerances a graph must keep on a provider: that of the coarsest numbers in it."""
    return "bf16" if provider == "openvino-bf16" and precision in ("fp32", "fp16") else precision
