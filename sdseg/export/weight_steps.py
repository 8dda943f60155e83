"""Steps of 8-bit weights with which every processor adds up products of bytes rightly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdseg.core.array_types import AnyArray, FloatArray

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["LARGEST_PAIR", "channel_axes", "weight_steps"]

LARGEST_PAIR = 128  # 255 * 128 = 32640: two products with unsigned bytes, added up, fit into signed 16 bits


def weight_steps(weights: AnyArray, inputs: int, outputs: int) -> FloatArray:
    """What one stands for in the signed bytes of each output channel's weights [O], float32, above 0.

    Processors without VNNI multiply unsigned bytes by signed ones and add up two neighbouring products, of input
    channels 2n and 2n+1, in 16 bits; what does not fit becomes 32767. With these steps the two weights have magnitudes
    of at most 128 together: it fits, whatever the activations are. A channel's largest weight is then below 127, by
    as much as its largest pair is above it: between one and two times coarser than what takes the whole byte.

    Parameters
    ----------
    weights: of a layer in single precision.
    inputs, outputs: the axes of its input and its output channels.
    """
    each = np.moveaxis(np.abs(weights), (outputs, inputs), (0, -1))
    each = each.reshape(len(each), -1, each.shape[-1])  # [O, taps of the kernel, I]
    odd = each.shape[-1] % 2  # then what the last one is a pair with is the runtime's business
    pairs = 2 * each if odd else each[..., ::2] + each[..., 1::2]
    # By 127: two that are rounded up are one more together.
    steps = (pairs.max(axis=(1, 2)) / (LARGEST_PAIR - 1)).astype(np.float32)
    return np.where(steps > 0, steps, np.float32(1))


def channel_axes(node: NodeProto, rank: int) -> tuple[int, int]:
    """The axes of a Conv's, MatMul's or Gemm's weights on which its input and its output channels lie."""
    if node.op_type == "Conv" or any(each.name == "transB" and each.i for each in node.attribute):
        return 1, 0
    return rank - 2, rank - 1
