"""One face for everything that computes a probability: PyTorch and ONNX Runtime, fed and checked by the same lines."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from sdseg.artifacts import ImageContract
from sdseg.errors import UserError
from sdseg.runtime.onnx_cuda import BoundSession
from sdseg.runtime.onnx_session import FOREIGN, check_graph, default_threads, failure_of, open_session
from sdseg.tensors import AnyArray, FloatArray, RawImages

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Backend", "OnnxBackend", "Reseedable", "TorchBackend", "as_input", "check_images", "draw_noise"]

NoiseShape = tuple[int, int, int]


class Backend(Protocol):
    """What `evaluate`, `export` and `predict` know of a model."""

    @property
    def name(self) -> str:
        """Runtime and device, for example torch-cpu or onnxruntime-cpu."""
        ...

    def probability(self, images: RawImages) -> FloatArray:
        """Raw images [N,H,W,C] at the working size -> probability [N,K,H,W] in [0,1].

        Raises UserError for images of another shape or type than the model's contract names.
        """
        ...


@runtime_checkable
class Reseedable(Backend, Protocol):
    """A backend whose noise can be drawn from another seed."""

    def with_seed(self, seed: int) -> Backend:
        """The same network with noise from another seed; nothing is loaded again."""
        ...


class TorchBackend:
    """A segmenter's forward: raw images [N,H,W,C] and noise [N,c,h,w] or None -> probability [N,K,H,W]."""

    def __init__(
        self,
        forward: Callable[[Tensor, Tensor | None], Tensor],
        image: ImageContract,
        device: str = "cpu",
        noise_shape: NoiseShape | None = None,
        seed: int = 0,
    ) -> None:
        import torch

        from sdseg.runtime.device import torch_device

        target = torch_device(device)
        self.name = f"torch-{device}"
        self._forward = forward.to(target) if isinstance(forward, torch.nn.Module) else forward
        self._image, self._device, self._noise_shape, self._seed = image, target, noise_shape, seed

    def with_seed(self, seed: int) -> TorchBackend:
        """The same network with noise from another seed."""
        made = copy(self)
        made._seed = seed
        return made

    def probability(self, images: RawImages) -> FloatArray:
        import torch

        fed = torch.from_numpy(as_input(images, self._image)).to(self._device)  # [N,H,W,C]
        noise = None
        if self._noise_shape is not None:
            noise = torch.from_numpy(draw_noise(len(images), self._noise_shape, self._seed)).to(self._device)
        with torch.inference_mode():
            probability: FloatArray = self._forward(fed, noise).float().cpu().numpy()  # [N,K,H,W]
        return probability


class OnnxBackend:
    """A graph made by `sdseg export`, run by ONNX Runtime on the wanted provider, or an error: never on another one.

    Parameters
    ----------
    path: the graph; its external data, if any, beside it.
    provider: 'cpu', 'cuda' or 'openvino'.
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
        self._session = open_session(path, provider, self.threads, cuda_graph=cuda_graph)
        self.manifest = check_graph(self._session, path)
        self._bound = BoundSession(self._session, "probability", cuda_graph) if provider == "cuda" else None
        self._noise = next((port.axes[1:] for port in self.manifest.inputs if port.name == "noise"), None)
        self._seed = seed

    def with_seed(self, seed: int) -> OnnxBackend:
        """The same session with noise from another seed."""
        made = copy(self)
        made._seed = seed
        return made

    def probability(self, images: RawImages) -> FloatArray:
        image = self.manifest.image
        feed: dict[str, AnyArray] = {"image": as_input(images, image)}  # [N,H,W,C]
        if self._noise is not None:
            channels, height, width = (int(axis) for axis in self._noise)
            feed["noise"] = draw_noise(len(images), (channels, height, width), self._seed)
        expected = (len(images), len(self.manifest.structures), image.size, image.size)
        try:
            if self._bound is not None:
                found = self._bound.run(feed, expected)
            else:
                found = np.asarray(self._session.run(["probability"], feed)[0], dtype=np.float32)  # [N,K,H,W]
        except Exception as error:
            reason = failure_of(error)
            if reason is None:
                raise
            raise UserError(
                f"ONNX Runtime failed on {len(images)} images: {reason}",
                where=self.path,
                remedy="use a smaller --batch; if that does not help, export the model again",
            ) from error
        if found.shape != expected:
            raise UserError(
                f"the graph gave a probability of shape {found.shape} instead of {expected}",
                where=self.path,
                remedy=FOREIGN,
            )
        return found


def as_input(images: RawImages, image: ImageContract) -> AnyArray:
    """Images as every runtime is fed with them: uint8 for RGB, float32 HU for CT; contiguous, [N,H,W,C]."""
    check_images(images, image)
    return np.require(images, dtype=np.uint8 if image.modality == "rgb" else np.float32, requirements=["C", "W"])


def check_images(images: RawImages, image: ImageContract) -> None:
    """Raise UserError unless `images` [N,H,W,C] have the contract's size, channels and type, and finite values."""
    wanted = (image.size, image.size, image.channels)
    if images.ndim != 4 or images.shape[1:] != wanted or not len(images):
        raise UserError(
            f"images of shape {images.shape}; the model wants (N, {wanted[0]}, {wanted[1]}, {wanted[2]}) with N ≥ 1",
            remedy="resize them to the working size first, channels last",
        )
    if image.modality == "rgb":
        if images.dtype != np.uint8:
            raise UserError(
                f"images of type {images.dtype}; the model wants uint8 values from 0 to 255",
                remedy="give RGB images of 8 bits, not normalised",
            )
        return
    if images.dtype not in (np.int16, np.float32):
        raise UserError(
            f"images of type {images.dtype}; the model wants Hounsfield units as int16 or float32",
            remedy="give the raw values of the CT volume, no window applied",
        )
    if images.dtype == np.float32 and not np.isfinite(images).all():
        raise UserError("images with NaN or infinite values", remedy="repair the volume: every voxel needs a number")


def draw_noise(count: int, shape: NoiseShape, seed: int) -> FloatArray:
    """Standard normal noise [count,c,h,w] for a sampling model, the same on every backend.

    Every image gets the same draw, so that a result depends on the seed alone and not on the image's place in a batch.
    """
    drawn = np.random.default_rng(seed).standard_normal((1, *shape), dtype=np.float32)
    return np.repeat(drawn, count, axis=0)
