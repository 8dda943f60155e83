"""A module whose networks compute in half precision, while all between them stays in single precision."""

from __future__ import annotations

from copy import copy, deepcopy
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from sdseg.config.export import Precision
from sdseg.models.ensemble import EnsembleSegmenter
from sdseg.models.segmenter import Segmenter

if TYPE_CHECKING:
    from sdseg.models.codec import MaskDecoder
    from sdseg.models.mask_head import ConvolutionalHead

__all__ = ["in_precision"]

TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def in_precision(module: nn.Module, precision: Precision) -> nn.Module:
    """`module` itself for fp32 and what is quantised, else a copy whose children with weights compute in `precision`.

    What the module does between its children stays in float32: the window of raw values (a half holds Hounsfield
    units above 2048 in steps of 2), and Eq. 2, which divides by √ᾱ, 0.07 at the last timestep, and so enlarges what
    was rounded before. Group normalisation computes its statistics in float32 by itself, in PyTorch and in ONNX.
    The original is not touched; one child at a time is copied, so that large networks fit.
    """
    kind = TYPES.get(precision)
    if kind is None:
        return module
    if isinstance(module, EnsembleSegmenter):
        return EnsembleSegmenter([cast("Segmenter", in_precision(one, precision)) for one in module.members]).eval()
    lowered = copy(module)
    lowered._modules = {
        name: _Lowered(child, kind) if child is not None and any(True for _ in child.parameters()) else child
        for name, child in module._modules.items()
    }
    return lowered.eval()


class _Lowered(nn.Module):
    """A network in half precision with inputs and output in single precision."""

    def __init__(self, network: nn.Module, kind: torch.dtype) -> None:
        super().__init__()
        self.network = deepcopy(network).to(kind)
        self.kind = kind

    def forward(self, *inputs: Any) -> Any:
        return _cast(self.network(*(_cast(value, self.kind) for value in inputs)), torch.float32)

    def probability(self, decoded: Tensor) -> Tensor:
        """What a decoder makes of its output; no weights are in it, and it stays in single precision."""
        network = cast("MaskDecoder | ConvolutionalHead", self.network)
        return network.probability(decoded)


def _cast(value: Any, kind: torch.dtype) -> Any:
    """Floating-point tensors as `kind`, also those of a list or tuple: finer and coarser levels go along in one."""
    if isinstance(value, list | tuple):
        return type(value)(_cast(one, kind) for one in value)
    return value.to(kind) if isinstance(value, Tensor) and value.is_floating_point() else value
