"""sdseg: latent-diffusion segmentation of medical images with a single reverse step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sdseg.inference.predictor import Predictor

__all__ = ["__version__", "load"]

__version__ = "0.1.0"


def load(
    path: str | Path,
    device: str = "auto",
    batch: int = 8,
    *,
    max_pixels: int | None = None,
    max_voxels: int | None = None,
) -> Predictor:
    """Open a model: `sdseg.load("model.onnx").predict("image.png").mask`. See docs/predict.md.

    Parameters
    ----------
    path: a model folder, an .onnx or .engine file, or a results folder: its best model for this machine is taken.
    device: 'cpu', 'cuda', 'openvino' or 'openvino-bf16' (.onnx files), or 'auto' for the GPU where the model's runtime
        can use one.
    batch: slices of a volume computed at a time.
    max_pixels, max_voxels: the largest image and volume that is read from a file; None for 16384² and 1024³.

    Raises sdseg.core.errors.UserError where the model cannot be opened.
    """
    from sdseg.inference.predictor import load_predictor  # libraries load with the first model, not with the package

    return load_predictor(path, device, batch, max_pixels, max_voxels)
