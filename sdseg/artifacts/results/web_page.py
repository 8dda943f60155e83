"""What export to a web page leaves beside it: `export/segment.json`, as a typed record."""

from __future__ import annotations

from sdseg.artifacts.results.parity import Parity
from sdseg.artifacts.results.record import Record

__all__ = ["WebPage"]


class WebPage(Record):
    """One HTML file with a model in it, and how far it lies from ONNX Runtime in Python on the same images."""

    file: str
    bytes: int
    sha256: str
    graph: str  # the ONNX file it was made from
    graph_checksum: str
    precision: str | None = None  # in which it computes; None in records of earlier versions
    model_file: str | None = None  # beside the page, where the model is too large to lie within
    runtime: str  # onnxruntime-web and its version
    browser: str | None = None  # that it was checked in, with its version
    not_run: str | None = None  # why it was not checked
    parity: Parity | None = None  # by WebAssembly
    webgpu_parity: Parity | None = None  # of a page with WebGPU: by that of the browser's software adapter
    webgpu_not_run: str | None = None  # why that was not checked
