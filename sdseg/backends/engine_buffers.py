"""The inputs and outputs of an engine as buffers: batches are cut up and filled up, wanted answers copied back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sdseg.artifacts.manifests import GraphManifest, GraphPort
from sdseg.backends.graph import GraphHypotheses, output_shape
from sdseg.backends.inputs import draw_noise
from sdseg.config.export import Batches
from sdseg.core.array_types import AnyArray, FloatArray

__all__ = ["EngineBuffers"]


class EngineBuffers(GraphHypotheses):
    """Base of a backend that computes from one buffer per port into others, for the batch sizes it was built for.

    Parameters
    ----------
    manifest: of the graph the engine was built from: each of its ports has a buffer of the largest batch.
    batches: those it takes. Larger ones are cut up, smaller ones filled up with their first image.
    seed: of the noise, for graphs with an input `noise`; it is drawn once.
    device: of the buffers, as PyTorch calls it.
    """

    mean_alone = "the engine gives the mean of its hypotheses alone"

    def __init__(self, manifest: GraphManifest, batches: Batches, seed: int = 0, device: str = "cuda") -> None:
        self.manifest, self._smallest, self._largest = manifest, batches.min, batches.max
        self._buffers = {
            port.name: _buffer(port, batches.max, device) for port in (*manifest.inputs, *manifest.outputs)
        }
        if "noise" in self._buffers:
            shape = tuple(self._buffers["noise"].shape)
            self._buffers["noise"].copy_(torch.from_numpy(draw_noise(shape[0], shape[1:], seed)))

    def run_graph(self, outputs: Sequence[str], fed: AnyArray) -> list[FloatArray]:
        """Some outputs for images [N,H,W,C] or patches; what is not asked for is computed and stays where it is."""
        images, image = torch.from_numpy(fed), self._buffers["image"]
        answers = [np.empty(output_shape(self.manifest, name, len(fed)), dtype=np.float32) for name in outputs]
        for start in range(0, len(images), self._largest):
            part = images[start : start + self._largest]
            size = max(len(part), self._smallest)
            image[: len(part)].copy_(part)
            image[len(part) : size].copy_(image[:1].expand(size - len(part), *image.shape[1:]))
            self.run_batch(size)
            for name, answer in zip(outputs, answers, strict=True):
                target = torch.from_numpy(answer[start : start + len(part)])
                target.copy_(self._buffers[name][: len(part)])  # waits for what computes it
        return answers

    @abstractmethod
    def run_batch(self, size: int) -> None:
        """Compute the first `size` rows of every output's buffer from those of the inputs'."""


def _buffer(port: GraphPort, largest: int, device: str) -> Tensor:
    shape = [axis if isinstance(axis, int) else largest for axis in port.axes]
    return torch.zeros(shape, dtype=getattr(torch, port.dtype), device=device)
