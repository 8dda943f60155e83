"""Who computes an exported graph: ONNX Runtime or OpenVINO, by the name of a provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from sdseg.artifacts.manifests import GraphManifest
from sdseg.backends.base import Backend
from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.backends.openvino import OpenvinoBackend
from sdseg.config.export import Precision
from sdseg.core.errors import UserError, nearest

__all__ = ["PROVIDERS", "GraphBackend", "Runtime", "arithmetic_of", "backend_name", "cannot_run", "open_graph"]


class GraphBackend(Backend, Protocol):
    """A backend that computes an exported graph."""

    manifest: GraphManifest


@dataclass(frozen=True)
class Runtime:
    """What stands behind the name of a provider."""

    backend: str  # the name that its backend has
    open: Callable[[Path, int], GraphBackend]  # a graph, with the seed of its noise; UserError where it cannot be
    cannot: Mapping[Precision, str] = field(default_factory=dict)  # precisions it cannot compute, and why
    coarser: Mapping[Precision, Precision] = field(default_factory=dict)  # it computes these with coarser numbers


def _onnxruntime(provider: str) -> Callable[[Path, int], GraphBackend]:
    return lambda path, seed: OnnxBackend(path, provider, seed)


PROVIDERS: dict[str, Runtime] = {
    "cpu": Runtime(
        "onnxruntime-cpu", _onnxruntime("cpu"), cannot={"bf16": "ONNX Runtime has no bf16 convolution for CPUs"}
    ),
    "cuda": Runtime("onnxruntime-cuda", _onnxruntime("cuda")),
    "openvino": Runtime("openvino", OpenvinoBackend),
    "openvino-bf16": Runtime(
        "openvino-bf16", partial(OpenvinoBackend, arithmetic="bf16"), coarser={"fp32": "bf16", "fp16": "bf16"}
    ),
}


def open_graph(path: Path, provider: str, seed: int = 0) -> GraphBackend:
    """A graph on a provider of the table. Raises UserError where it cannot be."""
    if provider not in PROVIDERS:
        what = f"unknown device '{provider}', {nearest(provider, PROVIDERS)}"
        raise UserError(what, where=path, remedy=f"use one of {', '.join(PROVIDERS)}")
    return PROVIDERS[provider].open(path, seed)


def backend_name(provider: str) -> str:
    """The name that the backend of a provider has, before there is one."""
    return PROVIDERS[provider].backend


def cannot_run(provider: str, precision: Precision) -> str | None:
    """Why a provider cannot compute a graph of this precision; None where it can."""
    return PROVIDERS[provider].cannot.get(precision)


def arithmetic_of(provider: str, precision: Precision) -> Precision:
    """The precision whose tolerances a graph must keep on a provider: that of the coarsest numbers in it."""
    return PROVIDERS[provider].coarser.get(precision, precision)
