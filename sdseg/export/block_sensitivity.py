"""Which blocks of a graph stay in single precision, so that its masks survive 8-bit integers: found by measurement.

Each block is quantised alone, and the masks are compared with those of the fp32 graph. The blocks that cost the masks
most for the work they do stay as they are: as few as it takes. In latent diffusion that is most of the small encoder
and denoiser, while the decoder, where nearly all the time goes, loses next to nothing.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdseg.backends.graph import default_threads
from sdseg.backends.onnxruntime import session_options
from sdseg.core.array_types import AnyArray, FloatArray, MaskArray
from sdseg.core.errors import UserError
from sdseg.export.quantise import ActivationRanges, quantisable
from sdseg.metrics.overlap import counts, dice

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

__all__ = ["QuantisedBlock", "graph_blocks", "sensitive_layers"]

log = logging.getLogger(__name__)

MOST_BLOCKS = 16  # each costs a quantised graph, a session and a pass over the images
IN_HAND = 0.2  # of what the masks may lose: the images this is measured on are not those of the gate

Feed = Mapping[str, AnyArray]
Masks = Callable[[FloatArray], MaskArray]


@dataclass(frozen=True)
class QuantisedBlock:
    """Layers of one part of the network, by the names of their nodes, and what its 8 bits cost."""

    name: str
    layers: tuple[str, ...]
    products: int  # multiplications of one image
    mask_dice: float = 1.0  # with fp32, where it alone is quantised

    @property
    def loss_for_its_work(self) -> float:
        return (1 - self.mask_dice) / max(self.products, 1)


def sensitive_layers(
    source: Path, calibration: ActivationRanges, feeds: Sequence[Feed], masks: Masks, least_dice: float
) -> tuple[str, ...]:
    """Names of the nodes of an fp32 graph that stay in fp32, so that Dice with its masks is at least `least_dice`.

    `feeds` are inputs of the graph by name, of images that are no test images; `masks` makes masks [N,K,H,W] of its
    probability. A part of what the masks may lose is kept in hand. Raises UserError where no block can be quantised.
    """
    import onnx

    blocks = graph_blocks(onnx.load(str(source), load_external_data=False).graph)
    if not blocks:
        raise UserError(
            "the network has no layers between its first convolution and its last, which stay in fp32",
            where="export.precisions",
            remedy="leave int8_mixed out",
        )
    aim = 1 - (1 - IN_HAND) * (1 - least_dice) if least_dice else 0.0  # 0 asks for nothing
    expected = _masks(source, feeds, masks)
    with tempfile.TemporaryDirectory(dir=source.parent, prefix=".blocks.") as place:

        def measured(layers: Sequence[str]) -> float:
            file = Path(place) / "quantised.onnx"
            calibration.write(file, layers)
            both = zip(_masks(file, feeds, masks), expected, strict=True)
            return float(np.mean([dice(counts(ours, theirs)) for ours, theirs in both]))

        alone = [replace(block, mask_dice=measured(block.layers)) for block in blocks]
        ordered = sorted(alone, key=lambda block: block.loss_for_its_work, reverse=True)
        fewest, most, reached = 0, len(ordered), 1.0  # of the first of `ordered`, that stay as they are
        while fewest < most:
            middle = (fewest + most) // 2
            mask_dice = measured([layer for block in ordered[middle:] for layer in block.layers])
            if mask_dice >= aim:
                most, reached = middle, mask_dice
            else:
                fewest = middle + 1
    kept, work = ordered[:fewest], sum(block.products for block in ordered)
    if len(kept) == len(ordered):
        raise UserError(
            f"no block of the network keeps its masks in 8 bits: Dice of {aim:.4f} with those of fp32 was wanted",
            where="export.precisions",
            remedy="leave int8_mixed out, or lower export.tolerances.int8_mixed.min_mask_dice",
        )
    for block in ordered:
        share = block.products / max(work, 1)
        stays = "stays in fp32" if block in kept else "int8"
        log.info("%s: %.1f %% of the work, masks %.4f in int8: %s", block.name, 100 * share, block.mask_dice, stays)
    quantised = sum(block.products for block in ordered[fewest:]) / max(work, 1)
    log.info("int8_mixed: %.0f %% of the work in int8, Dice with the masks of fp32 %.4f", 100 * quantised, reached)
    return tuple(layer for block in kept for layer in block.layers)


def graph_blocks(graph: GraphProto) -> list[QuantisedBlock]:
    """The layers that can be quantised, in the order of the graph, by the part of the network their weights belong to.

    Parts are told by the names of weights ('decoder.up_blocks.0…'), as deep as gives at most 16 blocks. A layer whose
    weights have no such name goes with the one before.
    """
    layers = quantisable(graph)
    paths: list[tuple[str, ...]] = []
    for node in layers:
        name = node.input[1]
        paths.append(tuple(name.split(".")[:-1]) if "." in name else (paths[-1] if paths else ()))
    depth = 1
    deepest = max((len(path) for path in paths), default=1)
    while depth < deepest and len(_runs(paths, depth + 1)) <= MOST_BLOCKS:
        depth += 1
    shapes = {
        value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.output)
    }
    weights = {each.name: tuple(each.dims) for each in graph.initializer}
    blocks = []
    for start, end in _runs(paths, depth):
        own = layers[start:end]
        products = sum(_products(node, weights[node.input[1]], shapes.get(node.output[0], ())) for node in own)
        name = ".".join(paths[start][:depth]) or own[0].name
        blocks.append(QuantisedBlock(name, tuple(node.name for node in own), products))
    return blocks


def _runs(paths: Sequence[tuple[str, ...]], depth: int) -> list[tuple[int, int]]:
    """First and last of the layers in a row whose paths agree to a depth."""
    runs, start = [], 0
    for _, same in groupby(paths, key=lambda path: path[:depth]):
        end = start + len(list(same))
        runs.append((start, end))
        start = end
    return runs


def _products(node: NodeProto, weights: tuple[int, ...], output: tuple[int, ...]) -> int:
    """Multiplications of a layer on one image; where the graph does not tell its output's size, as of one pixel."""
    sizes = [size for size in output if size > 0]  # the batch has none
    if node.op_type == "Conv":
        return math.prod(weights) * math.prod(sizes[1:])
    return math.prod(weights) * math.prod(sizes[:-1])


def _masks(file: Path, feeds: Sequence[Feed], masks: Masks) -> list[MaskArray]:
    """[1,K,H,W] of one image after another."""
    import onnxruntime

    options = session_options(default_threads())
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return [mask[None] for feed in feeds for mask in masks(session.run(["probability"], dict(feed))[0])]
