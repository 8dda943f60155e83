"""An fp32 graph as one of 8-bit integers (QDQ), its ranges taken from real images."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sdseg.artifacts.manifests import GraphManifest
from sdseg.backends.graph_checksum import seal_graph, unsealed
from sdseg.backends.graph_file import METADATA_KEY, weights_beside
from sdseg.core.array_types import AnyArray
from sdseg.core.errors import UserError

__all__ = ["quantise"]

# What takes the time. Sums, normalisation, softmax and everything between the networks stay in fp32.
OPERATORS = ["Conv", "MatMul", "Gemm"]


def quantise(
    source: Path, target: Path, feeds: Sequence[Mapping[str, AnyArray]], manifest: GraphManifest
) -> GraphManifest:
    """Write `source` with its convolutions and products in int8 to `target`, described by `manifest`.

    Returns the manifest as the graph carries it: with the checksums of its content.

    Weights have a range per output channel, activations one per tensor, from the smallest to the largest value they
    take on `feeds`: inputs of the graph by name, from images the model was trained on, never of those it is tested on.
    The first convolution of the graph and the last stay in fp32: the one sees raw contrast, the other draws the edge.
    Raises UserError where ONNX Runtime cannot quantise the graph.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static

    if not feeds:
        raise UserError("no images to calibrate int8 on", remedy="prepare data with training cases")
    graph = onnx.load(str(source), load_external_data=False).graph
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    logger = logging.getLogger()
    level = logger.level
    external = weights_beside(source).exists()
    try:
        logger.setLevel(logging.ERROR)  # it recommends a pre-processing that the exporter has done, on the root logger
        quantize_static(
            str(source),
            str(target),
            _reader(feeds),
            op_types_to_quantize=OPERATORS,
            nodes_to_exclude=[*convolutions[:1], *convolutions[-1:]],
            per_channel=True,
            activation_type=QuantType.QUInt8,  # with signed weights: what x86's VNNI and AMX multiply
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            use_external_data_format=external,
        )
    except (ValueError, RuntimeError, TypeError) as error:
        raise UserError(
            f"the graph cannot be quantised: {error}", where=source.name, remedy="leave int8 out of the precisions"
        ) from error
    finally:
        logger.setLevel(level)
    quantised = onnx.load(str(target), load_external_data=False)
    del quantised.metadata_props[:]
    onnx.helper.set_model_props(quantised, {METADATA_KEY: unsealed(manifest, external=external).model_dump_json()})
    onnx.save(quantised, str(target))
    return seal_graph(target)


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
