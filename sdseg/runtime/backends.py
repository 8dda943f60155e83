"""One face for everything that computes a probability: PyTorch and ONNX Runtime, fed and checked by the same lines."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sdseg.artifacts import GraphManifest, GraphPort, ImageContract, parse_json
from sdseg.errors import UserError
from sdseg.runtime.onnx_graph import METADATA_KEY
from sdseg.tensors import AnyArray, FloatArray, RawImages

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Backend", "OnnxBackend", "TorchBackend", "check_images", "draw_noise"]

NoiseShape = tuple[int, int, int]
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
FOREIGN = "give a graph made by 'sdseg export'"


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
    provider: 'cpu' or 'cuda'.
    seed: of the noise, for graphs with an input `noise`.
    threads: CPU threads of one call; default OMP_NUM_THREADS, otherwise one per core.

    Raises UserError for a file that cannot be run, does not describe itself, or is not what it says it is.
    """

    def __init__(self, path: Path, provider: str = "cpu", seed: int = 0, threads: int | None = None) -> None:
        self.name = f"onnxruntime-{provider}"
        self.path = path
        self.threads = _threads() if threads is None else threads  # 0: one per core
        self._session = _open_session(path, provider, self.threads)
        self.manifest = _manifest(self._session, path)
        _check_ports(self._session.get_inputs(), self.manifest.inputs, "input", path)
        _check_ports(self._session.get_outputs(), self.manifest.outputs, "output", path)
        self._noise = next((port.axes[1:] for port in self.manifest.inputs if port.name == "noise"), None)
        self._seed = seed

    def probability(self, images: RawImages) -> FloatArray:
        image = self.manifest.image
        feed: dict[str, AnyArray] = {"image": as_input(images, image)}  # [N,H,W,C]
        if self._noise is not None:
            channels, height, width = (int(axis) for axis in self._noise)
            feed["noise"] = draw_noise(len(images), (channels, height, width), self._seed)
        try:
            found = np.asarray(self._session.run(["probability"], feed)[0], dtype=np.float32)  # [N,K,H,W]
        except Exception as error:
            if not _from_runtime(error):
                raise
            raise UserError(
                f"ONNX Runtime failed on {len(images)} images: {_first_line(error)}",
                where=self.path,
                remedy="use a smaller --batch; if that does not help, export the model again",
            ) from error
        expected = (len(images), len(self.manifest.structures), image.size, image.size)
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


def _open_session(path: Path, provider: str, threads: int) -> Any:
    import onnxruntime

    if not path.is_file():
        raise UserError("the ONNX file is missing", where=path, remedy="check the path, or run 'sdseg export'")
    wanted, available = PROVIDERS.get(provider, provider), onnxruntime.get_available_providers()
    if wanted not in available:
        raise UserError(
            f"ONNX Runtime cannot run on '{provider}': {wanted} is not among its providers ({', '.join(available)})",
            where="--device",
            remedy="use --device cpu, or install onnxruntime-gpu instead of onnxruntime ('sdseg doctor' tells more)",
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # failures are raised below, once, with the file's name
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[wanted])
    except Exception as error:
        if not _from_runtime(error):
            raise
        raise UserError(
            f"not an ONNX graph that can be run: {_first_line(error)}",
            where=path,
            remedy="the file is truncated, foreign, or lacks its '.data' file: copy it again, or run 'sdseg export'",
        ) from None
    if wanted not in session.get_providers():
        raise UserError(
            f"ONNX Runtime fell back to {', '.join(session.get_providers())} instead of {wanted}",
            where=path,
            remedy="check the GPU driver and the CUDA libraries ('sdseg doctor' tells more), or use --device cpu",
        )
    return session


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


def _threads() -> int:
    """OMP_NUM_THREADS as PyTorch heeds it; 0 lets ONNX Runtime take one thread per core."""
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(text) if text.isdigit() else 0


def _from_runtime(error: Exception) -> bool:
    """ONNX Runtime's exceptions share no base class below Exception; their module tells them apart."""
    return type(error).__module__.startswith("onnxruntime.")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
