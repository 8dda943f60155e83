"""An fp32 graph as one of 8-bit integers (QDQ), its ranges taken from real images."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdseg.artifacts.manifests import GraphManifest
from sdseg.backends.graph_checksum import seal_graph, unsealed
from sdseg.backends.graph_file import METADATA_KEY, weights_beside
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError
from sdseg.export.weight_steps import channel_axes, weight_steps

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

__all__ = ["ActivationRanges", "quantisable", "quantise", "quantise_weights"]

# What takes the time. Sums, normalisation, softmax and everything between the networks stay in fp32. Relu and Clip must
# not be here: ONNX Runtime then leaves them to the rounding, which OpenVINO's graphs do without (openvino_rounding.py).
OPERATORS = ["Conv", "MatMul", "Gemm"]
LARGEST = 127  # of a signed byte, on both sides of zero


def quantise(
    source: Path,
    target: Path,
    feeds: Sequence[Mapping[str, AnyArray]],
    manifest: GraphManifest,
    kept: Callable[[ActivationRanges], Collection[str]] | None = None,
) -> GraphManifest:
    """Write `source` with its convolutions and products in int8 to `target`, described by `manifest`.

    Returns the manifest as the graph carries it: with the checksums of its content.

    Weights have a range per output channel, by which every processor adds up their products rightly (`weight_steps`);
    activations have one per tensor, from the smallest to the largest value they take on `feeds`: inputs of the graph
    by name, from images the model was trained on, never of those it is tested on.
    The first convolution of the graph and the last stay in fp32: the one sees raw contrast, the other draws the edge.
    So do products of two activations (attention), and the layers, names of nodes, that `kept` finds.
    Raises UserError where ONNX Runtime cannot quantise the graph, or has no room for what it writes on the way.
    """
    import onnx

    if not feeds:
        raise UserError("no images to calibrate int8 on", remedy="prepare data with training cases")
    layers = [node.name for node in quantisable(onnx.load(str(source), load_external_data=False).graph)]
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".int8.") as scratch:
        calibration = ActivationRanges(source, feeds, Path(scratch) / "ranges.json")
        stay = kept(calibration) if kept is not None else ()
        calibration.write(target, [layer for layer in layers if layer not in stay])
    described = manifest.model_copy(update={"sums_fit_16_bits": True})
    return _describe(onnx.load(str(target), load_external_data=False), target, described)


def quantise_weights(source: Path, target: Path, manifest: GraphManifest) -> GraphManifest:
    """Write `source` with its weights as 8-bit integers to `target`, described by `manifest`: a quarter of the bytes.

    Each output channel has a range of its own, symmetric about zero. Runtimes make fp32 of them when they open the
    graph and compute as ever, so that no images are needed. Returns the manifest as the graph carries it.
    """
    import onnx

    model = onnx.load(str(source))
    held = {each.name: each for each in model.graph.initializer}
    restored: dict[str, NodeProto] = {}
    for node in model.graph.node:
        axis = _channel_axis(node)
        if axis is None or node.input[1] not in held or node.input[1] in restored:
            continue
        name = node.input[1]
        weights = onnx.numpy_helper.to_array(held[name])
        if node.op_type == "MatMul" and weights.ndim != 2:
            continue
        others = tuple(each for each in range(weights.ndim) if each != axis)
        scale = np.abs(weights).max(axis=others, keepdims=True) / LARGEST
        scale[scale == 0] = 1
        parts = {"bytes": np.round(weights / scale).astype(np.int8), "scale": scale.reshape(-1).astype(np.float32)}
        model.graph.initializer.remove(held[name])
        model.graph.initializer.extend(
            onnx.numpy_helper.from_array(values, f"{name}_{part}") for part, values in parts.items()
        )
        inputs = [f"{name}_{part}" for part in parts]
        restored[name] = onnx.helper.make_node("DequantizeLinear", inputs, [name], f"{name}_restored", axis=axis)
    nodes = [*restored.values(), *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return _describe(model, target, manifest)


def _channel_axis(node: NodeProto) -> int | None:
    """The axis of a layer's weights that its output channels lie on; None of what has no weights, or has groups."""
    if node.op_type == "ConvTranspose" and all(each.name != "group" or each.i == 1 for each in node.attribute):
        return 1
    return {"Conv": 0, "MatMul": 1}.get(node.op_type)


def _describe(model: ModelProto, target: Path, manifest: GraphManifest) -> GraphManifest:
    """Write the model with its metadata."""
    import onnx

    del model.metadata_props[:]
    described = unsealed(manifest, external=weights_beside(target).exists())
    onnx.helper.set_model_props(model, {METADATA_KEY: described.model_dump_json()})
    onnx.save(model, str(target))
    return seal_graph(target)


def quantisable(graph: GraphProto) -> list[NodeProto]:
    """The layers of an fp32 graph that are quantised, in its order: those with weights but the ends."""
    weights = {each.name for each in graph.initializer}
    ends = [node.name for node in graph.node if node.op_type == "Conv"]
    ends = [*ends[:1], *ends[-1:]]
    return [
        node for node in graph.node if node.op_type in OPERATORS and node.input[1] in weights and node.name not in ends
    ]


@dataclass(frozen=True)
class ActivationRanges:
    """Ranges of a graph's values on images: found once, and used for as many quantised graphs as are wanted."""

    source: Path
    feeds: Sequence[Mapping[str, AnyArray]]
    ranges: Path  # file they are kept in, made by the first graph

    def write(self, target: Path, layers: Sequence[str]) -> None:
        """Write the graph with these of its nodes in int8. Raises UserError where ONNX Runtime cannot."""
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static

        graph = onnx.load(str(self.source)).graph
        logger = logging.getLogger()
        level = logger.level
        external = weights_beside(self.source).exists()
        weights_beside(target).unlink(missing_ok=True)  # it would be appended to
        try:
            logger.setLevel(logging.ERROR)  # it recommends a pre-processing that the exporter has done, on the root
            quantize_static(
                str(self.source),
                str(target),
                _reader(self.feeds),
                op_types_to_quantize=OPERATORS,
                # Not as those to quantise: of an empty list ONNX Runtime makes all.
                nodes_to_exclude=[node.name for node in graph.node if node.name not in layers],
                per_channel=True,
                activation_type=QuantType.QUInt8,  # with signed weights: what x86's VNNI and AMX multiply
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                use_external_data_format=external,
                calibration_cache_path=self.ranges,
                extra_options={"TensorQuantOverrides": _steps(graph, layers)},
            )
        except (ValueError, RuntimeError, TypeError) as error:
            raise UserError(
                f"the graph cannot be quantised: {error}",
                where=self.source.name,
                remedy="leave int8 out of the precisions",
            ) from error
        except Exception as error:
            if type(error).__name__ != "DecodeError":  # protobuf's, which is not ours to import
                raise
            # Of what was written beside the graph, of which nobody noticed that it is cut off.
            raise UserError(
                f"a graph that was written on the way cannot be read again ({error})",
                where=target.parent,
                remedy=f"see whether that disk is full: int8 takes three times the {_size(self.source)} of the graph",
            ) from error
        finally:
            logger.setLevel(level)


def _size(graph: Path) -> str:
    beside = weights_beside(graph)
    return f"{(graph.stat().st_size + (beside.stat().st_size if beside.exists() else 0)) / 1e6:.1f} MB"


def _steps(graph: GraphProto, layers: Sequence[str]) -> dict[str, list[dict[str, object]]]:
    """What one stands for in the layers' weights, by their names, in ONNX Runtime's words: see `weight_steps`."""
    import onnx

    held = {each.name: each for each in graph.initializer}
    overrides: dict[str, list[dict[str, object]]] = {}
    for node in graph.node:
        if node.name in layers:
            weights = onnx.numpy_helper.to_array(held[node.input[1]])
            inputs, outputs = channel_axes(node, weights.ndim)
            steps = weight_steps(weights, inputs, outputs)
            channels: list[dict[str, object]] = [{"scale": step, "zero_point": np.int8(0)} for step in steps]
            channels[0]["axis"] = outputs  # only there, for all of them
            overrides[node.input[1]] = channels
    return overrides


def _reader(feeds: Sequence[Mapping[str, AnyArray]]) -> object:
    """ONNX Runtime's way of asking for one batch after another."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.waiting: Iterator[Mapping[str, AnyArray]] = iter(feeds)

        def get_next(self) -> dict[str, AnyArray] | None:
            feed = next(self.waiting, None)
            return None if feed is None else dict(feed)

    return Reader()
