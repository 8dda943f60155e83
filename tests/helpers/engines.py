"""What a TensorRT engine is to its backend: buffers in, buffers out. ONNX Runtime computes between them."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import torch

from sdseg.backends.engine_buffers import EngineBuffers
from sdseg.backends.graph_checksum import open_manifest
from sdseg.config.export import Batches

__all__ = ["GraphEngine"]


class GraphEngine(EngineBuffers):
    """A graph behind the buffers of an engine, on the CPU."""

    name = "engine"

    def __init__(self, path: Path, batches: Batches, seed: int = 0) -> None:
        self.path, self.sizes = path, list[int]()  # of every batch that was computed
        super().__init__(open_manifest(path), batches, seed, device="cpu")
        self._session = onnxruntime.InferenceSession(path)

    def run_batch(self, size: int) -> None:
        self.sizes.append(size)
        feed = {port.name: self._buffers[port.name][:size].numpy() for port in self.manifest.inputs}
        names = [port.name for port in self.manifest.outputs]
        for name, answer in zip(names, self._session.run(names, feed), strict=True):
            self._buffers[name][:size].copy_(torch.from_numpy(answer))
