"""ONNX Runtime on a GPU without needless copies: buffers that stay there, one set per batch size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from sdseg.core.array_types import AnyArray, FloatArray

__all__ = ["BoundSession"]


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
            found: FloatArray = buffers.output.numpy()
        return found

    def _bind(self, feed: Mapping[str, AnyArray], shape: tuple[int, ...]) -> _Buffers:
        import onnxruntime

        made = onnxruntime.OrtValue
        inputs = {name: made.ortvalue_from_numpy(value, "cuda", 0) for name, value in feed.items()}
        output = made.ortvalue_from_shape_and_type(list(shape), np.float32, "cuda", 0)
        binding, options = self._session.io_binding(), onnxruntime.RunOptions()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_output(self._output, output)
        if self._cuda_graph:  # a recording holds addresses and sizes: each batch size has its own, by this number
            options.add_run_config_entry("gpu_graph_id", str(len(self._buffers) + 1))
        return _Buffers(inputs, output, binding, options)
