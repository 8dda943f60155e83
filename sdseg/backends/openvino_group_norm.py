"""Group normalisation in the layout that OpenVINO's convolutions have: channels last.

In an exported graph the channels of a group are one long row that is normalised, which wants channels first: OpenVINO
moves every value before and after. Here each channel's mean and length are found where it lies, and a group's from
those; what is left is a product and a sum per channel, which OpenVINO does in one pass with the activation after it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdseg.backends.openvino_nodes import constant_behind, kind, only_reader
from sdseg.backends.openvino_support import load_openvino, openvino_core
from sdseg.core.array_types import AnyArray, FloatArray
from sdseg.core.errors import UserError

__all__ = ["normalise_in_place"]

# Of a node, before its inputs: what a marked node computes is not rounded further than to fp32.
MARK = b'<rt_info><attribute name="DisablePrecisionConversion" version="0" value="dynamic:f16"/></rt_info>'


def normalise_in_place(model: Any) -> int:
    """Replace the group normalisations of maps [N,C,H,W] and volumes [N,C,D,H,W] in place; how many there were.

    A group's variance is the mean of its squares less the square of its mean, in single precision whatever the graph
    is computed in: as exact as the other way unless a group's mean is hundreds of times its standard deviation.
    Raises UserError where temporary files cannot be written.
    """
    norms = list(_group_norms(model))
    if not norms:
        return 0
    ops = _operators()
    factors = _in_single_precision(_factors_model(norms, ops))
    inputs = factors.get_parameters()
    outputs = [result.input_value(0) for result in factors.get_results()]
    for each, (mean, length), (scale, shift) in zip(norms, _pairs(inputs), _pairs(outputs), strict=True):
        axes = ops.constant(np.arange(2, len(each.sizes) + 2))
        for outlet, value in ((mean, ops.reduce_mean), (length, ops.reduce_l2)):
            _redirect(outlet.output(0), value(each.values, axes, True).output(0))
        _redirect(each.normalised, ops.add(ops.multiply(each.values, scale), shift).output(0))
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
        if rows is None or kind(rows) != "Reshape":
            continue
        values = rows.input_value(0)
        shape, row_shape = values.get_partial_shape(), rows.get_output_partial_shape(0)
        known = not shape.rank.is_dynamic and all(not shape[axis].is_dynamic for axis in range(1, len(shape)))
        if not known or len(shape) < 4 or len(row_shape) != 3 or row_shape[1].is_dynamic:
            continue
        channels, *sizes = (shape[axis].get_length() for axis in range(1, len(shape)))
        groups, attributes = row_shape[1].get_length(), node.get_attributes()
        if channels % groups or not attributes["normalize_variance"] or attributes["eps_mode"] != "INSIDE_SQRT":
            continue
        end = _affine(node.output(0), shape, channels, groups)
        if end is not None:
            normalised, scale, shift = end
            yield _GroupNorm(values, normalised, groups, float(attributes["eps"]), tuple(sizes), scale, shift)


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


def _factors_model(norms: list[_GroupNorm], ops: Any) -> Any:
    """From each one's mean and length per channel, [N,C,1,1], what to multiply its values by and to add."""
    inputs: list[Any] = []
    outputs: list[Any] = []
    for each in norms:
        ones = [1] * len(each.sizes)

        def product(values: Any, matrix: AnyArray, ones: list[int] = ones) -> Any:
            """Per channel or group; as a convolution, which alone keeps channels last."""
            weights = ops.constant(np.ascontiguousarray(matrix, np.float32).reshape(*matrix.shape, *ones))
            nothing = [0] * len(ones)
            return ops.convolution(values, weights, ones, nothing, nothing, ones)

        channels, count = len(each.scale), np.prod(each.sizes)
        within = channels // each.groups
        belongs = np.repeat(np.eye(each.groups, dtype=np.float32), within, axis=0)  # [C,groups]
        mean, length = (ops.parameter([-1, channels, *ones], np.float32) for _ in range(2))
        average = product(mean, belongs.T / within)
        squares = product(ops.multiply(length, length), belongs.T / within / count)
        variance = ops.maximum(ops.subtract(squares, ops.multiply(average, average)), ops.constant(np.float32(0)))
        deviation = ops.sqrt(ops.add(variance, ops.constant(np.float32(each.epsilon))))
        inverse = ops.divide(ops.constant(np.float32(1)), deviation)
        scaled = belongs * each.scale[:, None]
        shift = ops.constant(each.shift.reshape(1, -1, *ones))
        inputs += [mean, length]
        outputs += [product(inverse, scaled), ops.add(product(ops.multiply(average, inverse), -scaled), shift)]
    return load_openvino().Model(outputs, inputs, "factors")


def _in_single_precision(model: Any) -> Any:
    """The model with every node marked to stay in fp32 where the rest of a graph is computed in bfloat16.

    The mark is one of OpenVINO's own, which its Python package cannot set: it is written into the model's file.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="sdseg-openvino-") as folder:
            file = Path(folder) / "model.xml"
            load_openvino().serialize(model, str(file))
            text, weights = file.read_bytes(), np.fromfile(file.with_suffix(".bin"), np.uint8)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"temporary files cannot be written: {error}",
            where=tempfile.gettempdir(),
            remedy="free some space there, or let TMPDIR name another folder",
        ) from None
    return openvino_core().read_model(text.replace(b"<input>", MARK + b"<input>"), load_openvino().Tensor(weights))


def _redirect(output: Any, to: Any) -> None:
    """Let whatever reads one output read another."""
    for reader in list(output.get_target_inputs()):
        reader.replace_source_output(to)


def _pairs(values: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(values[::2], values[1::2], strict=True))


def _operators() -> Any:
    load_openvino()
    from openvino import opset13

    return opset13
