"""The latent method at its smallest, and its graph in every precision: exporting takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sdseg.config.export import Precision
from sdseg.export.precision import in_precision
from sdseg.export.quantise import quantise
from sdseg.export.tracing import export_graph
from sdseg.models.segmenter import Segmenter, build_segmenter
from tests.helpers.networks import CODEC, recipe
from tests.helpers.tiny import CT, describe, picture


@pytest.fixture(scope="session")
def ct_slices() -> np.ndarray:
    """Four CT slices [4,32,32,1], float32."""
    return np.stack([picture(CT, seed)[0] for seed in range(4)]).astype(np.float32)


@pytest.fixture(scope="session")
def latent_segmenter() -> Segmenter:
    """With attention and Eq. 2, from fixed noise; untrained."""
    torch.manual_seed(0)
    settings = recipe(diffusion={"prediction": "epsilon", "inference_noise": "fixed"})
    return build_segmenter(settings, CT, 1, CODEC, 0.7).eval()


@pytest.fixture(scope="session")
def exported(
    latent_segmenter: Segmenter, ct_slices: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Its graph by precision: fp32, fp16, bf16, int8."""
    folder, found = tmp_path_factory.mktemp("exported é"), {}
    opsets: dict[Precision, int] = {"fp32": 21, "fp16": 21, "bf16": 22}
    for precision, opset in opsets.items():
        found[str(precision)] = folder / f"model.{precision}.onnx"
        described = describe(CT, opset=opset).model_copy(update={"precision": precision})
        export_graph(in_precision(latent_segmenter, precision), described, found[precision])
    found["int8"] = folder / "model.int8.onnx"
    described = describe(CT).model_copy(update={"precision": "int8"})
    quantise(found["fp32"], found["int8"], [{"image": ct_slices[:2]}, {"image": ct_slices[2:]}], described)
    return found
