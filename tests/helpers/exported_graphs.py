"""The latent method at its smallest, and its graph in every precision: exporting takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sdseg.config.export import Precision
from sdseg.export.precision import in_precision
from sdseg.export.quantise import quantise
from sdseg.export.tracing import export_graph
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.segmenter import Segmenter
from tests.helpers.networks import CODEC, recipe
from tests.helpers.tiny import CT, describe, picture

__all__ = ["draw_ct_slices", "export_graphs", "untrained_segmenter"]


def draw_ct_slices() -> np.ndarray:
    """Four CT slices [4,32,32,1], float32."""
    return np.stack([picture(CT, seed)[0] for seed in range(4)]).astype(np.float32)


def untrained_segmenter() -> Segmenter:
    """With attention and Eq. 2, from fixed noise; untrained."""
    torch.manual_seed(0)
    settings = recipe(diffusion={"prediction": "epsilon", "inference_noise": "fixed"})
    return build_segmenter(settings, CT, 1, CODEC, 0.7).eval()


def export_graphs(segmenter: Segmenter, slices: np.ndarray, folder: Path) -> dict[str, Path]:
    """Its graph by precision: fp32, fp16, bf16, int8."""
    graphs: dict[str, Path] = {}
    opsets: dict[Precision, int] = {"fp32": 21, "fp16": 21, "bf16": 22}
    for precision, opset in opsets.items():
        graphs[str(precision)] = folder / f"model.{precision}.onnx"
        described = describe(CT, opset=opset).model_copy(update={"precision": precision})
        export_graph(in_precision(segmenter, precision), described, graphs[precision])
    graphs["int8"] = folder / "model.int8.onnx"
    described = describe(CT).model_copy(update={"precision": "int8"})
    quantise(graphs["fp32"], graphs["int8"], [{"image": slices[:2]}, {"image": slices[2:]}], described)
    return graphs
