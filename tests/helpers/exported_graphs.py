"""Networks, and the graphs of some that several tests look at: exporting takes seconds. One in every precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdseg.artifacts.image_contract import ImageContract, Structure
from sdseg.config.export import Precision
from sdseg.config.recipe import Recipe
from sdseg.export.precision import in_precision
from sdseg.export.quantise import quantise
from sdseg.export.tracing import export_graph
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.segmenter import Segmenter
from tests.helpers.networks import CLASSIC, CODEC, DIRECT, ONE_LEVEL, direct_recipe, recipe
from tests.helpers.tiny import CT, DISC_CUP, POLYP, RGB, describe, picture

__all__ = ["EXPORTED", "NETWORKS", "Network", "draw_ct_slices", "export_graphs", "untrained_segmenter"]


@dataclass(frozen=True)
class Network:
    """An untrained network: always with the same weights."""

    recipe: Recipe
    image: ImageContract = RGB
    structures: tuple[Structure, ...] = POLYP

    def build(self) -> Segmenter:
        torch.manual_seed(0)
        return build_segmenter(self.recipe, self.image, len(self.structures), CODEC, 0.7).eval()

    def export(self, path: Path) -> Path:
        export_graph(self.build(), describe(self.image, self.structures), path)
        return path


DENOISER = {"architecture": "unet", "block_out_channels": [6, 8, 10]}
MULTISCALE = CLASSIC | {"coarser_channels": [7]}


def decoding(kind: str, **more: Any) -> Recipe:
    """A latent recipe with another way from the latent to the mask; its denoiser is the classic one."""
    diffusion = {"train_timesteps": "last", "train_noise": "zero", "loss_mask": 1.0}
    return recipe(network={"decoder": kind, "denoiser": DENOISER, **more}, diffusion=diffusion)


NETWORKS = {
    "latent, two structures of CT": Network(
        recipe(network={"condition": CLASSIC, "denoiser": ONE_LEVEL}), CT, DISC_CUP
    ),
    "classic condition": Network(recipe(network={"condition": CLASSIC, "denoiser": ONE_LEVEL})),
    "condition at every size": Network(recipe(network={"condition": MULTISCALE})),
    "classic denoiser": Network(recipe(network={"condition": CLASSIC, "denoiser": DENOISER})),
    "classic denoiser, condition at every size": Network(
        recipe(network={"condition": MULTISCALE, "denoiser": DENOISER})
    ),
    "trained decoder": Network(decoding("trained")),
    "skips": Network(decoding("skips", condition=CLASSIC)),
    "skips of an autoencoder": Network(decoding("skips")),
    **{name: Network(direct_recipe(network=network)) for name, network in DIRECT.items()},
}

# The others' graphs are parts of these, or of those of committed recipes (test_every_recipe.py); skips at three levels,
# in test_architectures.py.
EXPORTED = [
    "latent, two structures of CT",
    "condition at every size",
    "classic denoiser, condition at every size",
    "skips of an autoencoder",
    "unet",
    "basic-unet",
]


def draw_ct_slices() -> np.ndarray:
    """Four CT slices [4,32,32,1], float32."""
    return np.stack([picture(CT, seed)[0] for seed in range(4)]).astype(np.float32)


def untrained_segmenter() -> Segmenter:
    """With attention and Eq. 2, from fixed noise; untrained."""
    torch.manual_seed(0)
    network = {"denoiser": ONE_LEVEL | {"block_out_channels": [24]}}  # wide enough for weights to be most of it
    settings = recipe(network=network, diffusion={"prediction": "epsilon", "inference_noise": "fixed"})
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
