"""Group normalisation in the layout that OpenVINO's convolutions have: channels last.

In an exported graph the channels of a group are one long row that is normalised, which wants channels first: OpenVINO
moves every value before and after. Here each channel's mean and length are found where it lies, and a group's from
those; what is left is a product and a sum per channel, which OpenVINO does in one pass with the activation after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdseg.backends.openvino_nodes import constant_behind, kind, only_reader
from sdseg.backends.openvino_support import load_openvino
from sdseg.core.array_types import AnyArray, FloatArray

__all__ = ["normalise_in_place"]

UNRESOLVED = np.float32(2**-20)  # of the mean of squares: what is less of their difference is rounding


def normalise_in_place(model: Any) -> int:
    """Replace the group normalisations of maps [N,C,H,W] and volumes [N,C,D,H,W] in place; how many there were.

    A group's variance is the mean of its squares less the square of its mean, in single precision. The further a mean
    is from zero, measured by the standard deviation, the more of the variance is rounding: 1e-5 of the answer up to 3
    times, which is what trained networks have, 2e-4 at 30, 5e-2 at 300; where it is thousands of times, and so nothing
    of the variance is left, answers are near zero. It is not for graphs computed in bfloat16.
    """
    norms = list(_group_norms(model))
    for norm in norms:
        normalised = _by_channel(norm).output(0)
        for reader in list(norm.normalised.get_target_inputs()):
            reader.replace_source_output(normalised)
    return len(norms)


@dataclass(frozen=True)
class _GroupNorm:
    """A group normalisation that was found in a graph."""

    values: Any  # output it reads
    normalised: Any  # output that it gives
    groups: int
    epsilon: float
    sizes: tuple[int, ...]  # rows and columns; of volumes slices before them
    scale: FloatArray  # [C]
    shift: FloatArray  # [C]


def _group_norms(model: Any) -> Iterator[_GroupNorm]:
    for node in model.get_ordered_ops():
        rows = node.input_value(0).get_node() if kind(node) == "MVN" else None
        if rows is None or kind(rows) != "Reshape" or not _normalises_rows(node):
            continue
        values = rows.input_value(0)
        shape, row_shape = values.get_partial_shape(), rows.get_output_partial_shape(0)
        if not _known_but_batch(shape) or not _known_but_batch(row_shape) or len(shape) < 4 or len(row_shape) != 3:
            continue
        channels, *sizes = (shape[axis].get_length() for axis in range(1, len(shape)))
        groups, row = (row_shape[axis].get_length() for axis in (1, 2))
        if groups * row != channels * math.prod(sizes) or channels % groups:  # rows of several images, or of parts
            continue
        end = _affine(node.output(0), shape, channels, groups)
        if end is not None:
            normalised, scale, shift = end
            epsilon = float(node.get_attributes()["eps"])
            yield _GroupNorm(values, normalised, groups, epsilon, tuple(sizes), scale, shift)


def _normalises_rows(node: Any) -> bool:
    """Whether a node normalises the last of three axes, in single precision and by the variance with its epsilon."""
    axes, attributes = constant_behind(node.input_value(1).get_node()), node.get_attributes()
    last = axes is not None and axes.reshape(-1).tolist() in ([2], [-1])
    by_variance = attributes["normalize_variance"] and attributes["eps_mode"].upper() == "INSIDE_SQRT"
    return bool(last and by_variance and node.get_output_element_type(0).get_type_name() == "f32")


def _known_but_batch(shape: Any) -> bool:
    """Whether every size but the first is known."""
    return not shape.rank.is_dynamic and all(not shape[axis].is_dynamic for axis in range(1, len(shape)))


def _affine(output: Any, shape: Any, channels: int, groups: int) -> tuple[Any, FloatArray, FloatArray] | None:
    """Where normalised rows have become maps again, with the products and sums of constants by then and just after.

    None where rows never become maps of this shape, or others read them before.
    """
    scale: FloatArray = np.ones(channels, np.float32)
    shift: FloatArray = np.zeros(channels, np.float32)
    maps = False
    while (reader := only_reader(output)) is not None:
        node = reader.get_node()
        if kind(node) == "Reshape" and not maps and node.get_output_partial_shape(0) == shape:
            maps = True
        elif kind(node) in ("Multiply", "Add"):
            each = _along_channels(node.input_value(1 - reader.get_index()), node, channels if maps else groups)
            if each is None:
                break
            values = each if maps else np.repeat(each, channels // groups)
            scale, shift = (scale * values, shift * values) if kind(node) == "Multiply" else (scale, shift + values)
        else:
            break
        output = node.output(0)
    return (output, scale, shift) if maps else None


def _along_channels(constant: Any, node: Any, count: int) -> FloatArray | None:
    """The values of a constant that a node multiplies by or adds, one for each channel or group; None of others."""
    values, shape = constant_behind(constant.get_node()), constant.get_partial_shape()
    if values is None or shape.is_dynamic:
        return None
    rank = len(node.get_output_partial_shape(0))
    sizes = [1] * (rank - len(shape)) + list(shape.to_shape())
    if sizes[1] not in (1, count) or any(size != 1 for axis, size in enumerate(sizes) if axis != 1):
        return None
    return np.broadcast_to(values.astype(np.float32).reshape(-1), count)


def _by_channel(norm: _GroupNorm) -> Any:
    """A node that multiplies each channel by one factor and adds another: what normalising its group comes to."""
    ops = _operators()
    ones, channels, count = [1] * len(norm.sizes), len(norm.scale), np.prod(norm.sizes)

    def product(values: Any, matrix: AnyArray) -> Any:
        """Of channels with a matrix; as a convolution, which alone leaves them last."""
        weights = ops.constant(np.ascontiguousarray(matrix, np.float32).reshape(*matrix.shape, *ones))
        nothing = [0] * len(ones)
        return ops.convolution(values, weights, ones, nothing, nothing, ones)

    axes = ops.constant(np.arange(2, len(ones) + 2))
    mean, length = ops.reduce_mean(norm.values, axes, True), ops.reduce_l2(norm.values, axes, True)
    within = channels // norm.groups
    belongs = np.repeat(np.eye(norm.groups, dtype=np.float32), within, axis=0)  # [C,groups]
    average = product(mean, belongs.T / within)
    squares = product(ops.multiply(length, length), belongs.T / within / count)
    floor = ops.multiply(squares, ops.constant(UNRESOLVED))
    variance = ops.maximum(ops.subtract(squares, ops.multiply(average, average)), floor)
    deviation = ops.sqrt(ops.add(variance, ops.constant(np.float32(norm.epsilon))))
    inverse = ops.divide(ops.constant(np.float32(1)), deviation)
    scaled, shift = belongs * norm.scale[:, None], ops.constant(norm.shift.reshape(1, -1, *ones))
    factor, term = product(inverse, scaled), ops.add(product(ops.multiply(average, inverse), -scaled), shift)
    return ops.add(ops.multiply(norm.values, factor), term)


def _operators() -> Any:
    load_openvino()
    from openvino import opset13

    return opset13
